/**
 * A TCP client that is gone before anybody has accepted it: it connects, sends, and resets the connection. Another
 * process does it while this one waits, and with it every gate and server that is in this one.
 */
import { execFileSync } from 'node:child_process'

const PROGRAM = `
const [, port, hex] = process.argv
const socket = require('node:net').connect(Number(port), '127.0.0.1', () =>
  socket.write(Buffer.from(hex, 'hex'), () => socket.resetAndDestroy()))
`

export function sendAndReset(port: number, ...bytes: Buffer[]): void {
  const hex = Buffer.concat(bytes).toString('hex')
  execFileSync(process.execPath, ['-e', PROGRAM, String(port), hex], { timeout: 10_000 })
}
