import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeSync } from 'node:fs'
import { errnoOf, Fault } from '../../base/fault.ts'
import { copyArtifact } from './artifact-copy.ts'
import { fetchArtifact } from './registry/artifact.ts'
import { Pulling } from './registry/pull.ts'
import { askForSignatures } from './registry/signatures.ts'
import { shiftLayer } from './shift-layer.ts'
import { Unpacking } from './unpack.ts'
import type {
  ChildRequest,
  ChildResult,
  DamagedLayer,
  ImportProgress,
  KeptLayers,
  PullRequest,
  PullSecrets,
  UnpackMessage,
  VerifyRequest
} from './unpack-message.ts'
import { verifyLayer } from './verify-layer.ts'

const reportEveryMs = 100

/**
 * The short-lived child that unpacks an archive from its standard input, pulls an image, verifies one or gives a layer's files to other
 * ids: the agent stays small, its thread pool free. It answers with JSON lines; the last one is `done` or `fault`.
 */
export async function main(argv: readonly string[]): Promise<void> {
  const request = JSON.parse(argv[0] ?? '{}') as ChildRequest
  process.umask(0o022)
  let pulling: Pulling | undefined
  try {
    let result: ChildResult
    if (request.task === 'pull') {
      pulling = new Pulling(request, await secrets(), reporter())
      result = await pulling.run()
    } else result = await resultOf(request)
    if (request.task === 'pull' || request.task === 'unpack') await syncFileSystem(request.draft)
    say({ type: 'done', result })
  } catch (e) {
    const { code, message, detail } = faultOf(e)
    const kept = await durable(request.draft, pulling?.kept)
    say({ type: 'fault', code, message, detail, ...(kept === undefined ? {} : { kept }) })
  }
  process.stdin.destroy()
}

async function resultOf(request: Exclude<ChildRequest, PullRequest>): Promise<ChildResult> {
  if (request.task === 'artifact') return fetchArtifact(request, await secrets())
  if (request.task === 'artifact-copy') return copyArtifact(request)
  if (request.task === 'signatures') return askForSignatures(request, await secrets())
  if (request.task === 'shift') return shiftLayer(request)
  return request.task === 'verify' ? verified(request) : new Unpacking(request, reporter()).run(process.stdin)
}

async function secrets(): Promise<PullSecrets> {
  const parts: Uint8Array[] = []
  for await (const chunk of process.stdin as AsyncIterable<Uint8Array>) parts.push(chunk)
  return JSON.parse(Buffer.concat(parts).toString('utf8')) as PullSecrets
}

/** What cannot be made durable is not kept. */
async function durable(draft: string, kept: KeptLayers | undefined): Promise<KeptLayers | undefined> {
  if (kept === undefined) return undefined
  return syncFileSystem(draft).then(
    () => kept,
    () => undefined
  )
}

function verified({ layers }: VerifyRequest): readonly DamagedLayer[] {
  const report = reporter()
  let archiveBytes = 0
  return layers.flatMap((layer, at) => {
    const onBytes = (bytes: number): void => {
      archiveBytes += bytes
      const counts = { totalBytes: 0, unpackedBytes: 0, entries: 0, layer: at + 1, layers: layers.length }
      report({ phase: 'verifying', archiveBytes, ...counts })
    }
    return verifyLayer(layer, onBytes) ?? []
  })
}

/** Each phase is told once at least. */
function reporter(): (progress: ImportProgress) => void {
  let next = 0
  let phase = ''
  return (progress) => {
    const now = performance.now()
    if (now < next && progress.phase === phase) return
    next = now + reportEveryMs
    phase = progress.phase
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
