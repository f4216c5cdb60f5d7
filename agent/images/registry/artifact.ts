import { createHash } from 'node:crypto'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { errnoOf, Fault } from '../../../base/fault.ts'
import type { ImageLimits } from '../limits.ts'
import type { ArtifactRequest, FetchedArtifact, PullSecrets } from '../unpack-message.ts'
import { parseChallenges } from './challenge.ts'
import { credentialsOf } from './credentials.ts'
import { type Answer, bytesOf, drop, RegistryHttp } from './http.ts'
import { patiently } from './session.ts'

const chunkBytes = 256 * 1024

/** Brings one file into `draft/blob`, checked against its digest where that is known. Runs in the child. */
export async function fetchArtifact(request: ArtifactRequest, secrets: PullSecrets): Promise<FetchedArtifact> {
  const { url, draft, sha256 } = request
  const path = join(draft, 'blob')
  const fetched = url.startsWith('file:')
    ? await written(path, fileChunks(decodeURIComponent(new URL(url).pathname)), request)
    : await overHttp(request, secrets, path)
  if (sha256 === '' || fetched.sha256 === sha256) return fetched
  throw new Fault('corrupt', `${shown(url)} is not what the task asks for: its sha256 is ${fetched.sha256}`)
}

async function overHttp(request: ArtifactRequest, secrets: PullSecrets, path: string): Promise<FetchedArtifact> {
  const { registries, url } = request
  const { signal } = new AbortController()
  // The address is the task's: what listens on this host alone is not for it, unless the operator says so.
  const http = new RegistryHttp(registries, secrets.proxy, 'as-others')
  try {
    return await patiently(registries.patience, signal, async () => {
      const answer = await opened(http, new URL(url), registries.dockerConfig, signal)
      const told = Number(answer.headers['content-length'] ?? 0)
      if (told > request.limits.archiveBytes) {
        drop(answer)
        throw tooLarge(url, request.limits)
      }
      return await written(path, bytesOf(answer, registries.patience), request)
    })
  } finally {
    http.close()
  }
}

/** What docker login left for this host is shown only where it is asked for, and follows nowhere else (`RegistryHttp.send`). */
async function opened(http: RegistryHttp, url: URL, dockerConfig: string, signal: AbortSignal): Promise<Answer> {
  const first = await http.send({ url, headers: {} }, signal)
  if (first.status === 200) return first
  const challenges = parseChallenges(first.headers['www-authenticate'] ?? '')
  const isAsked = first.status === 401 && first.url.origin === url.origin && challenges.some(({ scheme }) => scheme === 'basic')
  drop(first)
  const credentials = isAsked ? await credentialsOf(dockerConfig, url.host) : undefined
  if (credentials === undefined || !('username' in credentials)) throw refusal(first)
  const pair = Buffer.from(`${credentials.username}:${credentials.password}`).toString('base64')
  const second = await http.send({ url, headers: { authorization: `Basic ${pair}` } }, signal)
  if (second.status === 200) return second
  drop(second)
  throw refusal(second)
}

function refusal({ status, url }: Answer): Fault {
  const what = `${shown(url.href)} answers ${status}`
  if (status === 404 || status === 410) return new Fault('not-found', what)
  if (status === 401 || status === 403)
    return new Fault('denied', `${what}: docker login ${url.host} on the node, if it wants a name and password`)
  return new Fault(status === 429 || status >= 500 ? 'unavailable' : 'unsupported', what)
}

async function written(
  path: string,
  chunks: AsyncIterable<Uint8Array>,
  { url, limits }: ArtifactRequest
): Promise<FetchedArtifact> {
  const hash = createHash('sha256')
  let bytes = 0
  const file = fs.openSync(path, 'w', 0o600)
  try {
    for await (const chunk of chunks) {
      bytes += chunk.length
      if (bytes > limits.archiveBytes) throw tooLarge(url, limits)
      checkRoom(path, chunk.length, limits)
      hash.update(chunk)
      for (let at = 0; at < chunk.length; ) at += fs.writeSync(file, chunk, at)
    }
    fs.fsyncSync(file)
  } finally {
    fs.closeSync(file)
  }
  return { sha256: hash.digest('hex'), bytes }
}

async function* fileChunks(path: string): AsyncGenerator<Uint8Array> {
  let file: number
  try {
    file = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW | fs.constants.O_NONBLOCK)
  } catch (e) {
    throw new Fault('not-found', `${path} cannot be read on this node (${errnoOf(e) ?? String(e)})`, {}, e)
  }
  try {
    if (!fs.fstatSync(file).isFile()) throw new Fault('invalid', `${path} is no file`)
    const buffer = Buffer.alloc(chunkBytes)
    for (let read = fs.readSync(file, buffer); read > 0; read = fs.readSync(file, buffer)) yield buffer.subarray(0, read)
  } finally {
    fs.closeSync(file)
  }
}

function checkRoom(path: string, bytes: number, { reserveBytes }: ImageLimits): void {
  const { bavail, bsize } = fs.statfsSync(path)
  if (bavail * bsize - bytes < reserveBytes)
    throw new Fault('exhausted', `no space left for the artifact: ${reserveBytes} bytes of the disk must stay free`, {
      reason: 'disk_full'
    })
}

const tooLarge = (url: string, { archiveBytes }: ImageLimits): Fault =>
  new Fault('exhausted', `${shown(url)} is larger than the ${archiveBytes} bytes that this node takes`, {
    reason: 'artifact_failed'
  })

/** Without what may be a secret: presigned addresses have one behind the question mark. */
const shown = (url: string): string => url.replace(/[?#].*$/s, '').slice(0, 200)
