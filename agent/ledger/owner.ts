import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, statSync } from 'node:fs'
import { readFile, realpath } from 'node:fs/promises'
import { connect, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { errnoOf, Fault } from '../../base/fault.ts'
import { replaceFile } from '../../base/replace-file.ts'

export interface Ownership {
  release(): void
}

/**
 * Makes this process the only agent of the directory until it releases it or dies. The lock is an abstract unix socket, which
 * the kernel takes away with the process; it is seen within one network namespace only, so the owner is also written down.
 * Throws `Fault('conflict')` where another agent holds the directory.
 */
export async function own(directory: string): Promise<Ownership> {
  const path = await realpath(directory)
  const server = await listen(lockName(path))
  if (server === undefined) throw owned(path, await askOwner(lockName(path)))
  try {
    const file = join(path, 'owner')
    const other = await livingOwner(file)
    if (other !== undefined) throw owned(path, other)
    await writeOwner(file)
  } catch (e) {
    server.close()
    throw e
  }
  return { release: () => void server.close() }
}

const owned = (path: string, pid: string): Fault =>
  new Fault('conflict', `another agent (pid ${pid}) owns ${path}; stop it or choose another --state-dir`, { pid, path })

function lockName(path: string): string {
  const { dev, ino } = statSync(path)
  const hash = createHash('sha256').update(`${path}\n${dev}\n${ino}`).digest('hex')
  return `\0hearth-agent-${hash.slice(0, 32)}`
}

async function listen(name: string): Promise<Server | undefined> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined) // whoever asked has gone; nothing of ours is lost
    socket.end(String(process.pid))
  })
  try {
    server.listen(name)
    await once(server, 'listening')
    return server.unref()
  } catch (e) {
    if (errnoOf(e) === 'EADDRINUSE') return undefined
    throw e
  }
}

/** The pid that the holder of the lock names, or `unknown`. */
function askOwner(name: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(name)
    let answer = ''
    const done = (): void => {
      socket.destroy()
      resolve(/^\d{1,10}$/.test(answer) ? answer : 'unknown')
    }
    socket.setEncoding('latin1').setTimeout(2_000, done)
    socket.on('data', (part) => {
      answer = (answer + String(part)).slice(0, 16)
    })
    socket.on('close', done).on('error', done)
  })
}

/** Pid and start time: a pid alone may since belong to any other process. One that waits to be reaped owns nothing any more. */
function identity(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined
    const startTicks = fields[19] ?? ''
    const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
    return `${pid} ${startTicks} ${bootId}`
  } catch {
    return undefined // no such process
  }
}

async function livingOwner(file: string): Promise<string | undefined> {
  const text = (await readFile(file, 'latin1').catch(() => '')).trim()
  const pid = Number(text.split(' ')[0])
  if (!Number.isSafeInteger(pid) || pid <= 0 || pid === process.pid) return undefined
  return identity(pid) === text ? String(pid) : undefined
}

async function writeOwner(file: string): Promise<void> {
  try {
    await replaceFile(file, `${identity(process.pid) ?? ''}\n`)
  } catch (e) {
    // A full disk must not keep the agent from starting: the socket alone then holds the lock.
    if (errnoOf(e) !== 'ENOSPC' && errnoOf(e) !== 'EDQUOT') throw e
  }
}
