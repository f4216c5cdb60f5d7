import { createHash } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { errnoOf, Fault } from '../../base/fault.ts'

export interface Lock {
  release(): Promise<void>
}

/**
 * Holds the folder for this process until it ends: an abstract UNIX socket named after the folder's device and inode, which
 * the kernel lets go of however the process dies. It is seen by all processes of one network namespace. Throws
 * `Fault('conflict')` where another process holds it.
 */
export async function lockDirectory(directory: string): Promise<Lock> {
  const { dev, ino } = await stat(directory)
  const name = createHash('sha256').update(`${dev}:${ino}`).digest('hex').slice(0, 32)
  const server = createServer((socket) => socket.destroy())
  try {
    await listen(server, `\0hearth-master-${name}`)
  } catch (cause) {
    if (errnoOf(cause) !== 'EADDRINUSE') throw cause
    const message = `${directory} belongs to another master that is running: stop it first, or give this one its own directory`
    throw new Fault('conflict', message, { directory }, cause)
  }
  return { release: () => new Promise((resolve) => server.close(() => resolve())) }
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ path, exclusive: true }, () => {
      server.removeListener('error', reject)
      // Only a bound one may let the process end: before, its own start would be abandoned.
      server.unref()
      resolve()
    })
  })
}
