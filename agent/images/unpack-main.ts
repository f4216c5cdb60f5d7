import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeSync } from 'node:fs'
import { errnoOf, Fault } from '../../base/fault.ts'
import { Unpacking } from './unpack.ts'
import type { ImportProgress, UnpackMessage, UnpackRequest } from './unpack-message.ts'

const reportEveryMs = 100

/**
 * The short-lived child that reads an archive from its standard input and unpacks it: the agent stays small, its thread pool free.
 * It answers with JSON lines; the last one is `done` or `fault`.
 */
export async function main(argv: readonly string[]): Promise<void> {
  const request = JSON.parse(argv[0] ?? '{}') as UnpackRequest
  process.umask(0o022)
  try {
    const image = await new Unpacking(request, reporter()).run(process.stdin)
    await syncFileSystem(request.draft)
    say({ type: 'done', image })
  } catch (e) {
    const fault = faultOf(e)
    say({ type: 'fault', code: fault.code, message: fault.message, detail: fault.detail })
  }
  process.stdin.destroy()
}

function reporter(): (progress: ImportProgress) => void {
  let next = 0
  return (progress) => {
    const now = performance.now()
    if (now < next) return
    next = now + reportEveryMs
    say({ type: 'progress', progress })
  }
}

function say(message: UnpackMessage): void {
  const line = Buffer.from(`${JSON.stringify(message)}\n`)
  for (let at = 0; at < line.length; ) at += writeSync(1, line, at)
}

/** One call for all that was written, instead of an fsync for each file. */
async function syncFileSystem(path: string): Promise<void> {
  const child = spawn('sync', ['--file-system', path], { stdio: 'ignore' })
  const [code] = (await once(child, 'close')) as [number | null]
  if (code !== 0) throw new Fault('unavailable', 'the unpacked image could not be made durable: sync failed')
}

function faultOf(e: unknown): Fault {
  if (e instanceof Fault) return e
  const errno = errnoOf(e)
  if (errno === 'ENOSPC' || errno === 'EDQUOT') return new Fault('exhausted', 'no space left on the disk to unpack the image')
  const message = e instanceof Error ? e.message : String(e)
  return new Fault('unavailable', `the image could not be unpacked: ${message}`)
}
