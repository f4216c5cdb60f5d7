import { Fault, isFault } from '../../base/fault.ts'
import { channels, encodeStreamJson, streamContentType } from '../../proto/stream-frame.ts'
import type { LocalRequest, LocalResponse } from '../ports.ts'
import type { LocalImageStore } from './local-store.ts'
import type { PruneWish } from './prune.ts'
import { newImageName } from './reference.ts'
import type { ArchiveKind, ImportProgress, PullSecrets } from './unpack-message.ts'

const prefix = '/v1/images'
const maxSecretBytes = 16 * 1024
const archiveKinds: Readonly<Record<string, ArchiveKind>> = {
  auto: 'auto',
  rootfs: 'rootfs',
  oci: 'oci',
  'docker-archive': 'docker-archive'
}

export type ImageRouter = (request: LocalRequest, signal: AbortSignal) => Promise<LocalResponse | undefined>

/**
 * The image routes of the local API; undefined for a path that is none of them. Throws Faults, which the caller turns into answers.
 * `inUse` gives the digests of images that living containers run from.
 */
export function imageRoutes(store: LocalImageStore, inUse: () => ReadonlySet<string>): ImageRouter {
  return async (request, signal) => {
    const url = new URL(request.url, 'http://agent')
    if (url.pathname !== prefix && !url.pathname.startsWith(`${prefix}/`)) return undefined
    const rest = url.pathname.slice(prefix.length + 1)
    switch (`${request.method} ${kindOf(rest)}`) {
      case 'GET all':
        return json(200, { images: await store.list() })
      case 'POST all':
        return importImage(store, request, url.searchParams, signal)
      case 'POST collect':
        return json(200, { collected: await store.collect(inUse(), signal) })
      case 'POST pull':
        return pullImage(store, request, url.searchParams, signal)
      case 'POST prune':
        return json(200, { pruned: await store.prune(pruneWish(url.searchParams), inUse(), signal) })
      case 'POST verify':
        return verifyImage(store, url.searchParams, inUse(), signal)
      case 'GET collect':
      case 'GET prune':
      case 'GET pull':
      case 'GET verify':
      case 'GET one':
        return json(200, await store.show(nameOf(rest)))
      case 'DELETE collect':
      case 'DELETE prune':
      case 'DELETE pull':
      case 'DELETE verify':
      case 'DELETE one':
        await removeImage(store, nameOf(rest), inUse, signal)
        return { status: 204, contentType: 'application/json', body: bodyOf() }
      default:
        throw new Fault('unsupported', `${request.method} ${url.pathname} is no request that images answer`)
    }
  }
}

const verbs = ['collect', 'prune', 'pull', 'verify'] as const

function kindOf(rest: string): 'all' | (typeof verbs)[number] | 'one' {
  if (rest === '') return 'all'
  return verbs.find((verb) => verb === rest) ?? 'one'
}

function nameOf(rest: string): string {
  try {
    return decodeURIComponent(rest)
  } catch (cause) {
    throw new Fault('invalid', 'the name of the image in the path is not encoded as a URL needs it', {}, cause)
  }
}

async function removeImage(
  store: LocalImageStore,
  name: string,
  inUse: () => ReadonlySet<string>,
  signal: AbortSignal
): Promise<void> {
  const image = await store.show(name)
  const used = inUse()
  const namesLeft = (await store.list()).filter((other) => other.digest === image.digest).length
  if (used.has(image.digest) && namesLeft < 2) {
    throw new Fault('conflict', `the image ${image.name} is in use by a container: end the container first`)
  }
  await store.remove(name)
  await store.collect(used, signal)
}

function importImage(store: LocalImageStore, request: LocalRequest, query: URLSearchParams, signal: AbortSignal): LocalResponse {
  const asked = query.get('name') ?? ''
  const name = asked === '' ? '' : newImageName(asked)
  const kind = archiveKinds[query.get('kind') ?? 'auto']
  if (kind === undefined) throw new Fault('invalid', `kind must be one of ${Object.keys(archiveKinds).join(', ')}`)
  const work: Work = async (onProgress, within) => ({
    image: await store.import(request.body, { name, kind }, onProgress, within)
  })
  return { status: 200, contentType: streamContentType, body: workFrames(work, signal) }
}

/** The body, where there is one, holds the credentials for this pull: `{username, password}`. */
async function pullImage(
  store: LocalImageStore,
  request: LocalRequest,
  query: URLSearchParams,
  signal: AbortSignal
): Promise<LocalResponse> {
  const name = newImageName(query.get('reference') ?? '')
  const secrets = secretsIn(await smallBody(request.body))
  const work: Work = async (onProgress, within) => ({ image: await store.pull(name, secrets, onProgress, within) })
  return { status: 200, contentType: streamContentType, body: workFrames(work, signal) }
}

async function verifyImage(
  store: LocalImageStore,
  query: URLSearchParams,
  inUse: ReadonlySet<string>,
  signal: AbortSignal
): Promise<LocalResponse> {
  const { name } = await store.show(query.get('reference') ?? '')
  const repair = query.get('repair') === 'true'
  const work: Work = async (onProgress, within) => ({ verdict: await store.verify(name, { repair, inUse, onProgress }, within) })
  return { status: 200, contentType: streamContentType, body: workFrames(work, signal) }
}

function pruneWish(query: URLSearchParams): PruneWish {
  const unusedMs = query.get('unusedMs') ?? '0'
  if (!/^[0-9]{1,12}$/.test(unusedMs)) throw new Fault('invalid', 'unusedMs must be a whole number of milliseconds')
  return { unusedMs: Number(unusedMs), imported: query.get('imported') === 'true' }
}

async function smallBody(body: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of body) {
    bytes += chunk.length
    if (bytes > maxSecretBytes) throw new Fault('invalid', `credentials may have ${maxSecretBytes} bytes`)
    parts.push(chunk)
  }
  return Buffer.concat(parts)
}

function secretsIn(body: Buffer): PullSecrets {
  if (body.length === 0) return {}
  const wrong = (cause?: unknown): Fault =>
    new Fault('invalid', 'the body of a pull must be {"username": "...", "password": "..."}, or nothing', {}, cause)
  let value: unknown
  try {
    value = JSON.parse(body.toString('utf8'))
  } catch (cause) {
    throw wrong(cause)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong()
  const { username, password } = value as { readonly username?: unknown; readonly password?: unknown }
  if (username === undefined && password === undefined) return {}
  if (typeof username !== 'string' || typeof password !== 'string' || username === '' || username.includes(':')) throw wrong()
  return { credentials: { username, password } }
}

/** Resolves with what the last frame is to say. */
type Work = (onProgress: (progress: ImportProgress) => void, signal: AbortSignal) => Promise<Readonly<Record<string, unknown>>>

/** Frames of progress, then one `end`. A reader that goes away ends the work. */
async function* workFrames(begin: Work, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const gone = new AbortController()
  const latest = new LatestProgress()
  const work = begin((progress) => latest.put(progress), AbortSignal.any([signal, gone.signal]))
  const ending = work.catch(failureOf).finally(() => latest.close())
  try {
    for (let progress = await latest.take(); progress !== undefined; progress = await latest.take()) {
      yield encodeStreamJson(channels.progress, progress)
    }
    yield encodeStreamJson(channels.end, await ending)
  } finally {
    gone.abort(new Fault('unavailable', 'the reader went away'))
    await ending.catch(() => undefined)
  }
}

function failureOf(e: unknown): unknown {
  if (!isFault(e)) throw e
  return { error: { code: e.code, message: e.message, detail: e.detail } }
}

/** Holds the newest progress only: a slow reader misses steps, and nothing piles up. */
class LatestProgress {
  #value: ImportProgress | undefined
  #closed = false
  #wake: () => void = () => undefined

  put(value: ImportProgress): void {
    this.#value = value
    this.#wake()
  }

  close(): void {
    this.#closed = true
    this.#wake()
  }

  async take(): Promise<ImportProgress | undefined> {
    while (this.#value === undefined && !this.#closed) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    const value = this.#value
    this.#value = undefined
    return value
  }
}

const json = (status: number, value: unknown): LocalResponse => ({
  status,
  contentType: 'application/json',
  body: bodyOf(Buffer.from(JSON.stringify(value)))
})

async function* bodyOf(...chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks
}
