import { spawn } from 'node:child_process'
import { closeSync, constants, openSync, readFileSync } from 'node:fs'
import { readFile, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf, Fault } from '../../base/fault.ts'
import { replaceFile } from '../../base/replace-file.ts'
import { missingProgram } from '../host/exec.ts'

export interface Ownership {
  release(): void
}

/**
 * Makes this process the only agent of the directory until it releases it or dies. The lock is one of flock(2) on the folder
 * itself: it lies in our descriptor, so that the kernel takes it away with the process; it is seen in every namespace, holds
 * for the folder under whatever name, and can be taken by nobody who may not open the folder.
 * Throws `Fault('conflict')` where another agent holds the directory.
 */
export async function own(directory: string): Promise<Ownership> {
  const path = await realpath(directory)
  const ownerFile = join(path, 'owner')
  let folder: number | undefined = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY)
  const release = (): void => {
    if (folder !== undefined) closeSync(folder)
    folder = undefined
  }
  try {
    if (!(await lock(folder))) {
      const pid = await livingOwner(ownerFile)
      throw new Fault('conflict', `another agent (pid ${pid}) owns ${path}; stop it or choose another --state-dir`, { pid, path })
    }
    await writeOwner(ownerFile)
    return { release }
  } catch (e) {
    release()
    throw e
  }
}

/** Of an agent that was killed a moment ago the kernel may not have closed all descriptors yet. */
const patienceSeconds = 0.5
const heldByAnother = 75

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
    child.on('error', (e) => reject(errnoOf(e) === 'ENOENT' ? missingProgram('flock', e) : e))
    child.on('close', (code, signal) => {
      if (code === 0 || code === heldByAnother) resolve(code === 0)
      else reject(new Fault('unavailable', `flock could not lock the ledger's folder: ${complaint.trim() || (signal ?? code)}`))
    })
  })
}

/** Pid and start time: a pid alone may since belong to any other process. */
function identity(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const startTicks = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? ''
    const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
    return `${pid} ${startTicks} ${bootId}`
  } catch {
    return undefined // no such process
  }
}

/** The pid that the owner wrote down, or `unknown`: it may not have come to that yet, or see other pids than we do. */
async function livingOwner(file: string): Promise<string> {
  const text = (await readFile(file, 'latin1').catch(() => '')).trim()
  const pid = Number(text.split(' ')[0])
  return Number.isSafeInteger(pid) && pid > 0 && identity(pid) === text ? String(pid) : 'unknown'
}

/** For people alone: what holds is the lock. */
async function writeOwner(file: string): Promise<void> {
  try {
    await replaceFile(file, `${identity(process.pid) ?? ''}\n`)
  } catch (e) {
    // A full disk must not keep the agent from starting.
    if (errnoOf(e) !== 'ENOSPC' && errnoOf(e) !== 'EDQUOT') throw e
  }
}
