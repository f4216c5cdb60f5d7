import { chmod, chown, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { Fault } from '../../base/fault.ts'
import type { IsolatorRequest, OciMount } from '../../isolators/isolator.ts'
import { type LayerView, openLayerView } from './layer-view.ts'

/** The kernel's own, and the sandbox: nothing of an image lies over them. */
const taken = ['/proc', '/sys', '/dev', '/sandbox'] as const
const mostVolumes = 64
/** mount(2) takes one page of options. */
const maxOptionBytes = 3_900
const folder = 'volumes'

type Of = Pick<IsolatorRequest, 'layers' | 'imageMounts' | 'mounts' | 'sandboxDir' | 'walls'>

/**
 * A fresh place for each volume of an image, in the sandbox, with what the image has there; it goes with the sandbox. With a read-only
 * root there are none: an image cannot open what its task wants closed. Where the task mounts something itself, that counts.
 */
export async function makeVolumes(volumes: readonly string[], of: Of): Promise<readonly OciMount[]> {
  if (volumes.length === 0 || of.walls.readOnlyRoot) return []
  if (volumes.length > mostVolumes)
    throw new Fault('unsupported', `the image has ${volumes.length} volumes, more than ${mostVolumes}`)
  const view = await openLayerView(of.layers, of.imageMounts)
  const mounts = new Map<string, OciMount>()
  for (const volume of [...volumes].sort()) {
    const mount = await makeVolume(view, volume, join(of.sandboxDir, folder, String(mounts.size)), of)
    if (mount !== undefined) mounts.set(mount.destination, mount)
  }
  return [...mounts.values()]
}

/** Where the volumes among these mounts lie in the container. */
export const volumesAmong = (mounts: readonly OciMount[], sandboxDir: string): readonly string[] =>
  mounts.filter(({ source }) => source.startsWith(join(sandboxDir, folder, '/'))).map(({ destination }) => destination)

async function makeVolume(view: LayerView, volume: string, place: string, of: Of): Promise<OciMount | undefined> {
  if (!volume.startsWith('/')) return undefined
  const node = await view.lookup(volume)
  const path = node.kind === 'directory' ? node.path : plain(volume)
  const isFree = node.kind === 'directory' || node.kind === 'absent'
  if (!isFree || path === '/' || isBelow(path, taken)) return undefined
  if (isBelow(path, [...of.mounts.map(({ target }) => target), ...of.imageMounts.map(({ destination }) => destination)]))
    return undefined
  if (of.walls.tmpBytes > 0 && isBelow(path, ['/tmp'])) return undefined
  const upper = join(place, 'upper')
  const work = join(place, 'work')
  for (const made of [upper, work]) await mkdir(made, { recursive: true, mode: 0o755 })
  if (node.kind === 'absent')
    return { destination: path, type: 'bind', source: upper, options: ['bind', 'rw', 'nosuid', 'nodev', 'rprivate'] }
  await chown(upper, node.stats.uid, node.stats.gid)
  await chmod(upper, node.stats.mode & 0o7777)
  const options = [
    `lowerdir=${node.directories.map(escaped).join(':')}`,
    `upperdir=${escaped(upper)}`,
    `workdir=${escaped(work)}`
  ]
  if (options.join(',').length > maxOptionBytes)
    throw new Fault(
      'unsupported',
      `the volume ${path} of the image lies in more layers than one mount can name: squash the image first`
    )
  // overlayfs takes any word as its source; ours tells whose it is.
  return { destination: path, type: 'overlay', source: place, options: [...options, 'nosuid', 'nodev'] }
}

/** overlayfs parts directories by `:` and options by `,` (Documentation/filesystems/overlayfs.rst, "Multiple lower layers"). */
const escaped = (path: string): string => path.replace(/[\\:,]/g, (c) => `\\${c}`)

const isBelow = (path: string, roots: readonly string[]): boolean =>
  roots.some((root) => path === root || path.startsWith(root.endsWith('/') ? root : `${root}/`))

function plain(path: string): string {
  const parts: string[] = []
  for (const part of path.split('/')) {
    if (part === '..') parts.pop()
    else if (part !== '' && part !== '.') parts.push(part)
  }
  return `/${parts.join('/')}`
}
