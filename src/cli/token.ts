/** `postern token`: a fresh token of the development issuer, alone on stdout, for PGPASSWORD=$(…). */
import { findIssuer } from '../dev/home.ts'
import { sign } from '../dev/issuer.ts'
import type { World } from './terminal.ts'

export async function token(
  { sub, ttl, port, data }: { sub: string; ttl: number; port: number; data?: string },
  world: World,
): Promise<void> {
  const issuer = await findIssuer({ ...world, data, port })
  const exp = Math.floor(world.now() / 1000) + ttl
  world.stdout.write(`${await sign(issuer, { sub, exp }, world.now())}\n`)
}
