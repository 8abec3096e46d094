/**
 * Work for a client that says nothing meanwhile: nobody reads what it sends, so that it has left is noticed
 * here, and the work stops. Who waits in line must not keep a place for nobody.
 */
import { Failure } from '../failure.ts'
import type { Leg } from '../leg.ts'

/**
 * @param work - its signal ends with the login, or by `client_gone`.
 * @param matters - whether the client's end is to be noticed here, asked when it comes.
 */
export async function whileHere<T>(
  client: Leg,
  login: AbortSignal,
  work: (here: AbortSignal) => Promise<T>,
  matters = () => true,
): Promise<T> {
  // AbortSignal.any would cost ten times as much.
  const here = new AbortController()
  const leave = () => void (matters() && here.abort(new Failure('client_gone')))
  const expire = () => here.abort(login.reason)
  if (login.aborted) expire()
  login.addEventListener('abort', expire)
  const { socket } = client
  if (client.ended) leave()
  socket.on('end', leave).on('close', leave)
  try {
    return await work(here.signal)
  } finally {
    login.removeEventListener('abort', expire)
    socket.off('end', leave).off('close', leave)
  }
}
