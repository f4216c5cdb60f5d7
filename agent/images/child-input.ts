import type { Writable } from 'node:stream'

/**
 * Writes and waits for room. False: the pipe is closed, because the child has ended. (No race against a promise of the child's end: such
 * a promise would keep every chunk alive until then.)
 */
export async function writeToChild(stdin: Writable, bytes: Uint8Array): Promise<boolean> {
  if (stdin.destroyed) return false
  if (!stdin.write(bytes)) {
    await new Promise<void>((resolve) => {
      const done = (): void => {
        stdin.off('drain', done)
        stdin.off('close', done)
        resolve()
      }
      stdin.on('drain', done)
      stdin.on('close', done)
    })
  }
  return !stdin.destroyed
}
