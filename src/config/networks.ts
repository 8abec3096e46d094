/** A network as it stands in a file: `10.0.0.0/8`, `fd00::/8`, or an address alone. */
import { readNetwork } from '../policy/networks.ts'
import { form } from './values.ts'

export const network = form(
  'a network; write one like 10.0.0.0/8, fd00::/8, or an address',
  readNetwork,
)
