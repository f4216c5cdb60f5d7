import { rmdirSync } from 'node:fs'
import { lstat, mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Exec } from '../../base/exec.ts'
import { errnoOf, Fault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import { randomId } from '../../base/random.ts'
import { draftOf, replaceFile } from '../../base/replace-file.ts'
import type { IdRange } from '../../isolators/walls.ts'
import { ContentFiles, maxLowerBytes } from './content-files.ts'
import { ImageWork } from './image-work.ts'
import { defaultImageLimits } from './limits.ts'

interface Parts {
  readonly exec: Exec
  readonly log: Log
}

interface Config {
  /** Of the image store. */
  readonly directory: string
  readonly unpackProgram: readonly string[]
  readonly bootId: string
}

/** What is known of a view; of one without it nothing is. */
interface Note {
  /** Which folder of the layer's name it was made from: another one is another layer, unpacked anew. */
  readonly layer: string
  readonly entries: number
  /** The boot in which it was made, and whether it is on the disk: after another boot one that is not may lack anything. */
  readonly bootId: string
  readonly durable: boolean
}

const folder = 'views'
const hostPrefix = 'host-'

/** Such a path holds the owners of a layer's files and not their content. */
export const isShiftedView = (path: string): boolean => /\/views\/[0-9a-z]+\/(host-)?[0-9a-f]+$/.test(path)

/**
 * Layers as a range of ids has them: `views/RANGE/LAYER` beside the layers, RANGE in base 36, LAYER the layer's short name. Each is made
 * once, at its first use, by a child; it holds metadata alone, lies above its layer in a container's root, and goes with its layer.
 */
export class ShiftedViews {
  readonly #parts: Parts
  readonly #config: Config
  readonly #files: ContentFiles
  readonly #work: ImageWork
  /** One hand at a time on a view and its note. */
  readonly #making = new Map<string, Promise<void>>()
  readonly #settling = new Set<Promise<void>>()

  constructor(parts: Parts, config: Config) {
    this.#parts = parts
    this.#config = config
    this.#files = new ContentFiles(config.directory)
    const { unpackProgram } = config
    // Its mounts are in a mount namespace of the child and go with it.
    const program = ['unshare', '--mount', ...unpackProgram]
    this.#work = new ImageWork({ ...parts, files: this.#files }, { unpackProgram: program, limits: defaultImageLimits })
  }

  /** The layers, uppermost first, each below its view. Rejects with a Fault where the views cannot be made or are too many. */
  async over(layers: readonly string[], ids: IdRange, signal: AbortSignal): Promise<readonly string[]> {
    const pairs = layers.map((layer) => [this.#path(layer, ids), layer] as const)
    if (pairs.flat().reduce((sum, path) => sum + path.length + 1, 0) > maxLowerBytes) {
      const say = `the image has ${layers.length} layers, more than one mount can name where each has a view for a user namespace: squash it first`
      throw new Fault('unsupported', say, { reason: 'unsupported_request' })
    }
    for (const [view, layer] of pairs) await this.#have(view, layer, ids, signal)
    return pairs.flat()
  }

  /** Removes views whose layer is gone; tells how many. */
  async collect(): Promise<number> {
    const hosts = await namesIn(this.#files.path('hosts'))
    let removed = 0
    for (const range of await namesIn(this.#files.path(folder))) {
      const names = (await namesIn(this.#files.path(folder, range))).map((name) => name.replace(/\.json(\.draft)?$/, ''))
      for (const name of new Set(names)) {
        const isHost = name.startsWith(hostPrefix) && hosts.some((host) => name === hostName(host))
        const path = this.#files.path(folder, range, name)
        if (isHost || this.#making.has(path) || (await isThere(this.#files.path('l', name)))) continue
        await this.#discard(path)
        removed += 1
      }
      this.#removeEmpty(this.#files.path(folder, range))
    }
    if (removed > 0) this.#parts.log.info({ removed }, 'image.views_collected')
    return removed
  }

  /** How many views there are of layers with these short names, or, of the built-in image, of its digest. */
  async countOf(layers: readonly string[]): Promise<number> {
    const wanted = new Set(layers.flatMap((layer) => [layer, hostName(layer.replace('sha256:', ''))]))
    const ranges = await namesIn(this.#files.path(folder))
    const names = await Promise.all(ranges.map((range) => namesIn(this.#files.path(folder, range))))
    return names.flat().filter((name) => wanted.has(name)).length
  }

  /** Resolves when each view made so far is on the disk, or is told in the log not to be. */
  async settled(): Promise<void> {
    await Promise.all(this.#settling)
  }

  /** At once, so that nobody begins to make a view in it meanwhile. */
  #removeEmpty(range: string): void {
    if ([...this.#making.keys()].some((view) => dirname(view) === range)) return
    try {
      rmdirSync(range)
    } catch {
      // There are others in it.
    }
  }

  #path(layer: string, { first }: IdRange): string {
    const isHost = basename(dirname(layer)) === 'hosts'
    return this.#files.path(folder, first.toString(36), isHost ? hostName(basename(layer)) : basename(layer))
  }

  #have(view: string, layer: string, ids: IdRange, signal: AbortSignal): Promise<void> {
    return this.#alone(view, () => this.#make(view, layer, ids, signal))
  }

  /** Whoever wants the same one waits for the first, and looks for itself what came of it. */
  async #alone(view: string, work: () => Promise<void>): Promise<void> {
    for (let first = this.#making.get(view); first !== undefined; first = this.#making.get(view)) {
      await first.catch(() => undefined) // it is told to whom it belongs
    }
    const made = work().finally(() => this.#making.delete(view))
    this.#making.set(view, made)
    return made
  }

  async #make(view: string, layer: string, { first, count }: IdRange, signal: AbortSignal): Promise<void> {
    const made = await folderIdentity(layer)
    const { bootId } = this.#config
    const known = await noteOf(view)
    const isSound = known?.layer === made && (known.durable || known.bootId === bootId)
    if (isSound && (await isThere(view))) return
    await this.#discard(view)
    await mkdir(dirname(view), { recursive: true, mode: 0o700 })
    const request = { layer, first, count }
    const { entries, capabilities } = await this.#work.shift(
      request,
      async (draft, shifted) => {
        await replaceFile(`${view}.json`, noteText({ layer: made, entries: shifted.entries, bootId, durable: false }))
        await rename(join(draft, 'upper'), view)
        return shifted
      },
      signal
    )
    this.#parts.log.info({ view, entries, capabilities: capabilities ?? 'not kept' }, 'image.view_made')
    const settling = this.#settle(view, { layer: made, entries, bootId, durable: true })
    this.#settling.add(settling)
    void settling.finally(() => this.#settling.delete(settling))
  }

  /** Nobody waits for the disk: a view that does not come to it is made again after the boot. */
  async #settle(view: string, note: Note): Promise<void> {
    const never = new AbortController().signal
    try {
      const { code } = await this.#parts.exec.run('sync', ['--file-system', view], { timeoutMs: syncTimeoutMs }, never)
      if (code !== 0) throw new Fault('unavailable', `sync ended with ${code}`)
      await this.#alone(view, async () => {
        if ((await noteOf(view))?.layer === note.layer) await replaceFile(`${view}.json`, noteText(note))
      })
    } catch (error) {
      this.#parts.log.warn({ view, error }, 'image.view_not_synced')
    }
  }

  /** The tree leaves in one step; it is deleted at leisure. */
  async #discard(view: string): Promise<void> {
    for (const path of [`${view}.json`, draftOf(`${view}.json`)]) await rm(path, { force: true })
    const grave = this.#files.path('drafts', randomId())
    const isGone = await rename(view, grave).then(() => false, absent)
    if (!isGone) await this.#work.discard(grave)
  }
}

const syncTimeoutMs = 60_000

const hostName = (fingerprint: string): string => `${hostPrefix}${fingerprint.slice(0, 12)}`
const noteText = (note: Note): string => `${JSON.stringify(note)}\n`

async function noteOf(view: string): Promise<Note | undefined> {
  try {
    return JSON.parse(await readFile(`${view}.json`, 'utf8')) as Note
  } catch {
    return undefined // there is none, or it says nothing
  }
}

/** Numbers of inodes are used again; a number and its birth are not. */
async function folderIdentity(path: string): Promise<string> {
  const { ino, birthtimeNs } = await stat(path, { bigint: true })
  return `${ino}-${birthtimeNs}`
}

const namesIn = (path: string): Promise<readonly string[]> => readdir(path).catch(() => []) // no task ever had such ids

const isThere = (path: string): Promise<boolean> => lstat(path).then(() => true, absentIs(false))

const absentIs =
  <T>(value: T) =>
  (e: unknown): T => {
    if (errnoOf(e) === 'ENOENT') return value
    throw e
  }

const absent = absentIs(true)
