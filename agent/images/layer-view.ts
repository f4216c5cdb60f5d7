import type { Stats } from 'node:fs'
import { lstat, open, readFile, readlink, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf, Fault } from '../../base/fault.ts'
import { withHandle } from '../../base/replace-file.ts'
import type { OciMount } from '../../isolators/isolator.ts'

const maxLinks = 40
const maxPathBytes = 4096

export type ViewedNode =
  | {
      readonly kind: 'file' | 'directory' | 'symlink' | 'other'
      /** Path inside the image, free of links. */
      readonly path: string
      /** Where it lies on the host. */
      readonly hostPath: string
      /** Of a directory: all that merge into it, uppermost first. */
      readonly directories: readonly string[]
      readonly stats: Stats
    }
  | { readonly kind: 'absent' }
  /** The way leads into a mount whose content cannot be seen from here. */
  | { readonly kind: 'unknown' }

interface Found {
  readonly stats: Stats
  /** The same path in each layer that takes part, uppermost first. */
  readonly directories: readonly string[]
}

interface Frame extends Found {
  readonly name: string
}

interface Walk {
  readonly root: Frame
  frames: Frame[]
  steps: string[]
  links: number
  leaf: ViewedNode | undefined
}

/**
 * The merged tree of a stack of layers, read without mounting it: whiteouts and opaque directories hide what is below, and
 * links are followed inside the image, never on the host.
 */
export class LayerView {
  readonly #layers: readonly string[]
  readonly #mounts: ReadonlyMap<string, OciMount>
  readonly #opaque: ReadonlySet<string>

  constructor(layers: readonly string[], mounts: readonly OciMount[] = [], opaque: ReadonlySet<string> = new Set()) {
    this.#layers = layers
    this.#mounts = new Map(mounts.map((mount) => [mount.destination, mount]))
    this.#opaque = opaque
  }

  async lookup(path: string, options: { readonly follow: boolean } = { follow: true }): Promise<ViewedNode> {
    if (path.length > maxPathBytes || path.includes('\0')) return { kind: 'absent' }
    const [top = '/'] = this.#layers
    const root: Frame = { name: '', directories: this.#layers, stats: await lstat(await realpath(top)) }
    const walk: Walk = { root, frames: [root], steps: namesOf(path), links: 0, leaf: undefined }
    for (let name = walk.steps.shift(); name !== undefined; name = walk.steps.shift()) {
      const stop = name === '..' ? leave(walk) : await this.#enter(walk, name, options.follow)
      if (stop !== undefined) return { kind: stop }
    }
    return walk.leaf ?? viewOf(walk.frames)
  }

  async #enter(walk: Walk, name: string, follow: boolean): Promise<'absent' | 'unknown' | undefined> {
    const path = `${pathOf(walk.frames)}/${name}`
    const mount = this.#mounts.get(path)
    if (mount !== undefined && !isBind(mount)) return 'unknown'
    const found = mount === undefined ? await this.#find(walk.frames.at(-1)?.directories ?? [], name) : await mounted(mount)
    if (found === undefined) return 'absent'
    const kind = kindOf(found.stats)
    const more = walk.steps.length > 0
    const [hostPath = ''] = found.directories
    if (kind === 'symlink' && (more || follow)) return followLink(walk, await readlink(hostPath))
    if (kind === 'directory') walk.frames.push({ name, ...found })
    else if (more) return 'absent'
    else walk.leaf = { kind, path, hostPath, directories: [], stats: found.stats }
    return undefined
  }

  /** The content of a regular file of at most `maxBytes`; undefined where there is none. */
  async readFile(path: string, maxBytes: number): Promise<Buffer | undefined> {
    const node = await this.lookup(path)
    if (node.kind !== 'file') return undefined
    if (node.stats.size > maxBytes) throw new Fault('invalid', `${path} of the image is larger than ${maxBytes} bytes`)
    return withHandle(await open(node.hostPath, 'r'), (file) => file.readFile())
  }

  /** Looks the name up in the merged directory, as overlayfs does (Documentation/filesystems/overlayfs.rst, "Upper and Lower"). */
  async #find(directories: readonly string[], name: string): Promise<Found | undefined> {
    let first: Stats | undefined
    const merged: string[] = []
    for (const directory of directories) {
      const path = join(directory, name)
      const stats = await lstatOrNone(path)
      if (stats === undefined) continue
      if (isWhiteout(stats) || (first !== undefined && !stats.isDirectory())) break
      first ??= stats
      merged.push(path)
      if (!stats.isDirectory() || this.#opaque.has(path)) break
    }
    return first === undefined ? undefined : { stats: first, directories: merged }
  }
}

/** A view over layers of the image store, with what the store noted about their opaque directories. */
export async function openLayerView(layers: readonly string[], mounts: readonly OciMount[] = []): Promise<LayerView> {
  const opaque = new Set<string>()
  for (const layer of layers) {
    for (const path of await opaqueDirectories(layer)) opaque.add(join(layer, path))
  }
  return new LayerView(layers, mounts, opaque)
}

async function opaqueDirectories(layer: string): Promise<readonly string[]> {
  const text = await readFile(`${await realpath(layer)}.json`, 'utf8').catch((e: unknown) => {
    if (errnoOf(e) === 'ENOENT') return '{}'
    throw e
  })
  const facts: unknown = JSON.parse(text)
  if (typeof facts !== 'object' || facts === null || !('opaque' in facts) || !Array.isArray(facts.opaque)) return []
  return facts.opaque.filter((path) => typeof path === 'string').map((path) => Buffer.from(path, 'latin1').toString('utf8'))
}

const namesOf = (path: string): string[] => path.split('/').filter((name) => name !== '' && name !== '.')

/** Without the last slash: the empty string is the root. */
const pathOf = (frames: readonly Frame[]): string => frames.map((frame) => frame.name).join('/')

function viewOf(frames: readonly Frame[]): ViewedNode {
  const frame = frames.at(-1)
  const hostPath = frame?.directories[0]
  if (frame === undefined || hostPath === undefined) return { kind: 'absent' }
  return { kind: 'directory', path: pathOf(frames) || '/', hostPath, directories: frame.directories, stats: frame.stats }
}

function leave(walk: Walk): undefined {
  if (walk.frames.length > 1) walk.frames.pop()
}

function followLink(walk: Walk, target: string): 'absent' | undefined {
  walk.links += 1
  if (walk.links > maxLinks) return 'absent'
  if (target.startsWith('/')) walk.frames = [walk.root]
  walk.steps.unshift(...namesOf(target))
  return undefined
}

const isBind = (mount: OciMount): boolean => mount.options.includes('bind') || mount.options.includes('rbind')

async function mounted(mount: OciMount): Promise<Found | undefined> {
  const source = await realpath(mount.source).catch(() => undefined)
  const stats = source === undefined ? undefined : await lstatOrNone(source)
  return source === undefined || stats === undefined ? undefined : { stats, directories: [source] }
}

async function lstatOrNone(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path)
  } catch (e) {
    const errno = errnoOf(e)
    if (errno === 'ENOENT' || errno === 'ENOTDIR' || errno === 'ENAMETOOLONG') return undefined
    throw e
  }
}

/** overlayfs marks a removed name by a character device 0/0. */
const isWhiteout = (stats: Stats): boolean => stats.isCharacterDevice() && stats.rdev === 0

function kindOf(stats: Stats): 'file' | 'directory' | 'symlink' | 'other' {
  if (stats.isFile()) return 'file'
  if (stats.isDirectory()) return 'directory'
  return stats.isSymbolicLink() ? 'symlink' : 'other'
}
