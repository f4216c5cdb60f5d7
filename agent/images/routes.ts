import { Fault, isFault } from '../../base/fault.ts'
import { channels, encodeStreamJson, streamContentType } from '../../proto/stream-frame.ts'
import type { LocalRequest, LocalResponse } from '../ports.ts'
import { newImageName } from './reference.ts'
import type { ImageSummary, LocalImageStore } from './store.ts'
import type { ArchiveKind, ImportProgress } from './unpack-message.ts'

const prefix = '/v1/images'
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
      case 'GET collect':
      case 'GET one':
        return json(200, await store.show(nameOf(rest)))
      case 'DELETE collect':
      case 'DELETE one':
        await removeImage(store, nameOf(rest), inUse, signal)
        return { status: 204, contentType: 'application/json', body: bodyOf() }
      default:
        throw new Fault('unsupported', `${request.method} ${url.pathname} is no request that images answer`)
    }
  }
}

function kindOf(rest: string): 'all' | 'collect' | 'one' {
  if (rest === '') return 'all'
  return rest === 'collect' ? 'collect' : 'one'
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
  return { status: 200, contentType: streamContentType, body: importFrames(store, request.body, { name, kind }, signal) }
}

/** Frames of progress, then one `end`. A reader that goes away ends the import. */
async function* importFrames(
  store: LocalImageStore,
  archive: AsyncIterable<Uint8Array>,
  options: { readonly name: string; readonly kind: ArchiveKind },
  signal: AbortSignal
): AsyncGenerator<Uint8Array> {
  const gone = new AbortController()
  const latest = new LatestProgress()
  const work = store.import(archive, options, (progress) => latest.put(progress), AbortSignal.any([signal, gone.signal]))
  const ending = work.then(endOf, failureOf).finally(() => latest.close())
  try {
    for (let progress = await latest.take(); progress !== undefined; progress = await latest.take()) {
      yield encodeStreamJson(channels.progress, progress)
    }
    yield encodeStreamJson(channels.end, await ending)
  } finally {
    gone.abort(new Fault('unavailable', 'the reader of the import went away'))
    await ending.catch(() => undefined)
  }
}

const endOf = (image: ImageSummary): unknown => ({ image })

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
