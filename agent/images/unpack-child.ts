import { type ChildProcess, spawn } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Writable } from 'node:stream'
import { errnoOf, Fault, isFaultCode } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import { writeToChild } from './child-input.ts'
import type { ChildRequest, ChildResult, ImportProgress, KeptLayers, UnpackMessage } from './unpack-message.ts'

const maxLineBytes = 4 * 1024 * 1024
const maxErrorBytes = 8 * 1024
const ownerFile = 'owner.json'

export interface ImportSource {
  /** What the child gets on its standard input. */
  readonly archive: AsyncIterable<Uint8Array>
  readonly onProgress: (progress: ImportProgress) => void
  /** Called where a pull fails after some of its layers are whole; what is of use must be taken before this resolves. */
  readonly onKept?: (kept: KeptLayers) => Promise<void>
}

/** Runs one request in a child of its own; its result is of the kind that was asked for. When it returns or throws, the child and all that it started are gone. */
export async function runUnpackChild(
  program: readonly string[],
  request: ChildRequest,
  source: ImportSource,
  log: Log,
  signal: AbortSignal
): Promise<ChildResult> {
  signal.throwIfAborted()
  const [file = '', ...args] = program
  // A process group of its own, so that tar and zstd end with it.
  const child = spawn(file, [...args, JSON.stringify(request)], { stdio: ['pipe', 'pipe', 'pipe'], detached: true })
  const ended = endOf(child)
  const stop = (): void => endGroup(child.pid)
  signal.addEventListener('abort', stop, { once: true })
  try {
    // From the start: what a child has said that ends before anybody listens is thrown away.
    const said = collectText(child.stderr)
    const messages = readMessages(child.stdout, source.onProgress)
    messages.catch(() => undefined) // told below, if nothing else is
    // A child that has ended closes the pipe; why it did is told by its last line.
    child.stdin.on('error', () => undefined)
    await noteOwner(request.draft, child.pid)
    const [, last] = await Promise.all([feed(child.stdin, source.archive), messages, ended])
    signal.throwIfAborted()
    if (last?.type === 'done') return last.result
    if (last?.type === 'fault' && last.kept !== undefined) await source.onKept?.(last.kept)
    if (last?.type === 'fault') throw new Fault(isFaultCode(last.code) ? last.code : 'unavailable', last.message, last.detail)
    log.warn({ exit: await ended, stderr: said() }, 'image.unpack_ended')
    throw new Fault('unavailable', `unpacking ended early (${await ended}): import the image again`)
  } finally {
    signal.removeEventListener('abort', stop)
    stop()
    await ended
  }
}

/** Ends the child that an earlier agent left at work on this draft, if it still is that process. */
export async function endLeftChild(draft: string): Promise<void> {
  const text = await readFile(join(draft, ownerFile), 'utf8').catch(() => '')
  const [, pid = '', startTicks = ''] = /^\{"pid":([0-9]+),"startTicks":([0-9]+)\}$/.exec(text) ?? []
  if (pid !== '' && (await startTicksOf(Number(pid))) === Number(startTicks)) endGroup(Number(pid))
}

async function noteOwner(draft: string, pid: number | undefined): Promise<void> {
  if (pid === undefined) return
  const startTicks = await startTicksOf(pid)
  if (startTicks !== undefined) await writeFile(join(draft, ownerFile), JSON.stringify({ pid, startTicks }), { mode: 0o600 })
}

/** Field 22 of /proc/PID/stat; the second may hold blanks and brackets. */
async function startTicksOf(pid: number): Promise<number | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  return stat === undefined ? undefined : Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19])
}

function endGroup(pid: number | undefined): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch (e) {
    if (errnoOf(e) !== 'ESRCH') throw e
  }
}

function endOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once('error', (e) => resolve(e.message))
    child.once('close', (code, name) => resolve(name ?? `exit code ${code}`))
  })
}

async function feed(stdin: Writable, archive: AsyncIterable<Uint8Array>): Promise<void> {
  const chunks = archive[Symbol.asyncIterator]()
  try {
    for (;;) {
      const result = await nextUnlessClosed(chunks, stdin)
      if (result === undefined || result.done === true || !(await writeToChild(stdin, result.value))) break
    }
    stdin.end()
  } catch (e) {
    if (e instanceof Fault) throw e
    throw new Fault('unavailable', 'the archive stopped arriving in the middle: import it again', {}, e)
  } finally {
    // What the sender says to that changes nothing any more.
    chunks.return?.()?.catch(() => undefined)
  }
}

/** A sender may be silent for long: a child that has ended must not wait for it. */
function nextUnlessClosed(chunks: AsyncIterator<Uint8Array>, stdin: Writable): Promise<IteratorResult<Uint8Array> | undefined> {
  return new Promise((resolve, reject) => {
    const closed = (): void => resolve(undefined)
    if (stdin.destroyed) return closed()
    stdin.once('close', closed)
    chunks
      .next()
      .then(resolve, reject)
      .finally(() => stdin.off('close', closed))
  })
}

async function readMessages(
  lines: AsyncIterable<Uint8Array>,
  onProgress: (progress: ImportProgress) => void
): Promise<UnpackMessage | undefined> {
  let held = Buffer.alloc(0)
  let last: UnpackMessage | undefined
  for await (const chunk of lines) {
    held = Buffer.concat([held, chunk])
    for (let end = held.indexOf(0x0a); end >= 0; end = held.indexOf(0x0a)) {
      const message = JSON.parse(held.subarray(0, end).toString('utf8')) as UnpackMessage
      held = held.subarray(end + 1)
      // Streams that are on their way to stop may still tell of progress after the end was told.
      if (message.type === 'progress') onProgress(message.progress)
      else last = message
    }
    if (held.length > maxLineBytes) throw new Fault('unavailable', 'the unpacking child says too much in one line')
  }
  return last
}

function collectText(stream: NodeJS.ReadableStream): () => string {
  let text = ''
  stream.on('data', (chunk: Buffer) => {
    text = `${text}${chunk.toString('utf8')}`.slice(-maxErrorBytes)
  })
  return () => text
}
