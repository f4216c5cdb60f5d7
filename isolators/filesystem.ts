import { existsSync, statfsSync } from 'node:fs'
import { chmod, chown, mkdir, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Fault } from '../base/fault.ts'
import type { BundlePart, Isolator, IsolatorRequest, OciMount } from './isolator.ts'
import type { Trash } from './trash.ts'
import type { IdRange } from './walls.ts'

/** Where the task finds its sandbox directory; also in the environment as HEARTH_SANDBOX. */
export const sandboxMountPoint = '/sandbox'

/**
 * The root: the image's layers below a writable layer, as an OCI mount at `/`. Nothing is mounted on the host, so the mount
 * dies with the container and a crashed agent leaves none behind (facts on launch, 2).
 */
export const filesystem = (trash: Pick<Trash, 'take'>): Isolator => ({
  name: 'filesystem',
  capabilities: async () => [{ name: 'rootfs.overlay', present: true, detail: 'overlay mounted by the runtime' }],

  async prepare(request, signal): Promise<BundlePart> {
    signal.throwIfAborted()
    const places = placesOf(request)
    if (statfsSync(dirname(request.sandboxDir)).bavail === 0) {
      throw new Fault('exhausted', 'no space is left on the node’s disk', { reason: 'disk_full' })
    }
    await Promise.all([
      request.journal({ kind: 'sandbox_dir', id: request.sandboxDir }),
      request.journal({ kind: 'overlay', id: places.upper })
    ])
    await Promise.all(
      [places.root, places.upper, places.work, places.files].map((path) => mkdir(path, { recursive: true, mode: 0o755 }))
    )
    const { uid, gid } = request.process
    const { ids, tmpBytes } = request.walls
    const base = ids?.first ?? 0
    if (uid !== 0 || ids !== undefined) await chown(places.files, base + uid, base + gid)
    if (ids !== undefined) await chown(places.upper, base, base)
    if (tmpBytes > 0) await makeTmp(places.upper, base)
    return {
      rootPath: places.root,
      rootReadonly: request.walls.readOnlyRoot,
      env: [`HEARTH_SANDBOX=${sandboxMountPoint}`],
      mounts: [
        overlay(request.layers, places.upper, places.work, ids),
        ...kernelMounts(request.walls.shmBytes, ids !== undefined && request.network === 'host'),
        ...request.imageMounts,
        ...privateTmp(request.walls.tmpBytes),
        {
          destination: sandboxMountPoint,
          type: 'bind',
          source: places.files,
          options: ['bind', 'rw', 'nosuid', 'nodev', 'rprivate']
        },
        ...request.mounts.map((m) => ({
          destination: m.target,
          type: 'bind',
          source: m.source,
          options: ['rbind', m.readOnly ? 'ro' : 'rw', 'nosuid', 'nodev', 'rprivate', ...(ids === undefined ? [] : ['idmap'])]
        }))
      ]
    }
  },

  /** The writable layer goes with the container; the sandbox's files and the log stay until the task is forgotten. */
  async cleanup(request) {
    const places = placesOf(request)
    const left = [places.upper, places.work].filter((path) => !trash.take(path))
    await Promise.all(left.map((path) => rm(path, { recursive: true, force: true })))
  }
})

interface Places {
  readonly root: string
  readonly upper: string
  readonly work: string
  readonly files: string
}

const placesOf = (request: Pick<IsolatorRequest, 'bundleDir' | 'sandboxDir'>): Places => ({
  root: join(request.bundleDir, 'root'),
  upper: join(request.sandboxDir, 'upper'),
  work: join(request.sandboxDir, 'work'),
  files: join(request.sandboxDir, 'files')
})

/**
 * overlayfs takes `lowerdir` uppermost first; `:` and `,` and `\` in a path must be escaped (Documentation/filesystems/overlayfs). Files
 * whose owner alone was copied are files only with `metacopy`.
 */
function overlay(layers: readonly string[], upper: string, work: string, ids: IdRange | undefined): OciMount {
  const lower = layers.map((l) => l.replace(/[\\:,]/g, (c) => `\\${c}`)).join(':')
  return {
    destination: '/',
    type: 'overlay',
    source: 'overlay',
    options: [`lowerdir=${lower}`, `upperdir=${upper}`, `workdir=${work}`, ...(ids === undefined ? [] : ['metacopy=on'])]
  }
}

/** runc 1.1.5 gives a tmpfs the mode of the folder that it is mounted over, whatever its options say. */
async function makeTmp(upper: string, owner: number): Promise<void> {
  const path = join(upper, 'tmp')
  await mkdir(path, { recursive: true })
  await chown(path, owner, owner)
  await chmod(path, 0o1777)
}

const privateTmp = (bytes: number): readonly OciMount[] =>
  bytes === 0
    ? []
    : [{ destination: '/tmp', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'nodev', 'mode=1777', `size=${bytes}`] }]

/** runtime-spec 1.0, "Default Filesystems", with the options Docker and Podman use. */
const kernelMounts = (shmBytes: number, isSysBound: boolean): readonly OciMount[] => [
  { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
  { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'] },
  {
    destination: '/dev/pts',
    type: 'devpts',
    source: 'devpts',
    options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5']
  },
  {
    destination: '/dev/shm',
    type: 'tmpfs',
    source: 'shm',
    options: ['nosuid', 'noexec', 'nodev', 'mode=1777', `size=${shmBytes}`]
  },
  { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
  ...(isSysBound
    ? boundSys()
    : [{ destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] }])
]

/**
 * Only who owns the network namespace may mount a sysfs of it, so a user namespace on the node's network gets the node's own; what is
 * mounted on it there, the cgroups above all, is covered.
 */
const boundSys = (): readonly OciMount[] => [
  { destination: '/sys', type: 'bind', source: '/sys', options: ['rbind', 'ro', 'nosuid', 'noexec', 'nodev', 'rprivate'] },
  ...['/sys/fs', '/sys/kernel/debug', '/sys/kernel/tracing', '/sys/kernel/security', '/sys/kernel/config']
    .filter((destination) => existsSync(destination))
    .map((destination) => ({
      ...{ destination, type: 'tmpfs', source: 'tmpfs' },
      options: ['nosuid', 'noexec', 'nodev', 'ro', 'mode=755', 'size=4k']
    }))
]
