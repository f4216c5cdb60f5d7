import { spawn } from 'node:child_process'
import { closeSync, constants, openSync } from 'node:fs'
import { errnoOf, Fault } from '../../base/fault.ts'

export interface Lock {
  release(): Promise<void>
}

/** Of a master that was killed a moment ago the kernel may not have closed all descriptors yet. */
const patienceSeconds = 0.5
const heldByAnother = 75

/**
 * Holds the folder for this process until it ends: a lock of flock(2) on the folder itself. It lies in our descriptor, so that
 * the kernel lets go of it however the process dies; it is seen in every namespace, and nobody takes it who may not open the
 * folder. Throws `Fault('conflict')` where another process holds it.
 */
export async function lockDirectory(directory: string): Promise<Lock> {
  let folder: number | undefined = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY)
  const release = async (): Promise<void> => {
    if (folder !== undefined) closeSync(folder)
    folder = undefined
  }
  try {
    if (await lock(folder)) return { release }
    const message = `${directory} belongs to another master that is running: stop it first, or give this one its own directory`
    throw new Fault('conflict', message, { directory })
  } catch (e) {
    await release()
    throw e
  }
}

/**
 * Node cannot ask for a lock, so `flock` of util-linux does it for us: the descriptor that it inherits is the same open folder,
 * and what it locks stays locked when it has ended. False where another process holds the lock.
 */
function lock(folder: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const args = ['--exclusive', '--wait', `${patienceSeconds}`, '--conflict-exit-code', `${heldByAnother}`, '3']
    const child = spawn('flock', args, { stdio: ['ignore', 'ignore', 'pipe', folder] })
    let complaint = ''
    child.stderr?.setEncoding('utf8').on('data', (part) => {
      complaint = (complaint + String(part)).slice(0, 500)
    })
    child.on('error', (cause) => {
      const why = errnoOf(cause) === 'ENOENT' ? 'is not installed: apt-get install util-linux' : `cannot be run: ${cause.message}`
      reject(new Fault('unavailable', `flock ${why}`, {}, cause))
    })
    child.on('close', (code, signal) => {
      if (code === 0 || code === heldByAnother) resolve(code === 0)
      else reject(new Fault('unavailable', `flock could not lock the master's folder: ${complaint.trim() || (signal ?? code)}`))
    })
  })
}
