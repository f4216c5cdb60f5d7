import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Fault } from '../../base/fault.ts'

/** Where the kernel's views are mounted; other folders in tests. */
export interface HostRoots {
  readonly proc: string
  readonly sys: string
  readonly etc: string
  /** Where distributions put shared data: the seccomp profile. */
  readonly share: string
}

export const systemRoots: HostRoots = { proc: '/proc', sys: '/sys', etc: '/etc', share: '/usr/share' }

const controllers = ['cpu', 'memory', 'pids', 'cpuset', 'io'] as const
type Controller = (typeof controllers)[number]

interface ControllerPlace {
  readonly version: 1 | 2
  /** Absolute path of the hierarchy the controller is in. */
  readonly mount: string
  /** The agent's own cgroup below `mount`, beginning with `/`. */
  readonly ownPath: string
}

export interface CgroupView {
  /** v2: one tree holds everything. hybrid: a v2 tree beside v1 controllers. v1: no v2 tree, below our floor. */
  readonly mode: 'v2' | 'hybrid' | 'v1'
  /** Where the v2 tree is mounted. */
  readonly unified: string | undefined
  /** The agent's own cgroup in the v2 tree, beginning with `/`. */
  readonly ownUnified: string | undefined
  readonly controllers: Readonly<Partial<Record<Controller, ControllerPlace>>>
}

interface Mount {
  readonly target: string
  readonly type: string
  readonly options: readonly string[]
}

/** Reads which cgroup trees there are (proc(5): mountinfo; cgroups(7): /proc/self/cgroup). */
export async function readCgroups(roots: HostRoots): Promise<CgroupView> {
  const mounts = cgroupMounts(await readFile(join(roots.proc, 'self/mountinfo'), 'utf8'))
  const own = ownPaths(await readFile(join(roots.proc, 'self/cgroup'), 'utf8'))
  const here = (target: string): string => (target.startsWith('/sys/') ? join(roots.sys, target.slice(5)) : target)
  const v2 = mounts.find((m) => m.type === 'cgroup2')
  const v1 = mounts.filter((m) => m.type === 'cgroup')
  const places: Partial<Record<Controller, ControllerPlace>> = {}
  if (v2 !== undefined) {
    const unified = here(v2.target)
    for (const name of await unifiedControllers(unified)) {
      places[name] = { version: 2, mount: unified, ownPath: own.get('') ?? '/' }
    }
  }
  for (const name of controllers) {
    const mount = v1.find((m) => m.options.includes(v1Name(name)))
    if (mount !== undefined) places[name] = { version: 1, mount: here(mount.target), ownPath: own.get(v1Name(name)) ?? '/' }
  }
  return {
    mode: modeOf(v2 !== undefined, v1.length > 0),
    unified: v2 === undefined ? undefined : here(v2.target),
    ownUnified: v2 === undefined ? undefined : (own.get('') ?? '/'),
    controllers: places
  }
}

const v1Name = (name: Controller): string => (name === 'io' ? 'blkio' : name)

function modeOf(hasV2: boolean, hasV1: boolean): CgroupView['mode'] {
  if (hasV2) return hasV1 ? 'hybrid' : 'v2'
  if (hasV1) return 'v1'
  throw new Fault('unavailable', 'no cgroup file system is mounted: mount -t cgroup2 none /sys/fs/cgroup')
}

async function unifiedControllers(unified: string): Promise<Controller[]> {
  const text = await readFile(join(unified, 'cgroup.controllers'), 'utf8')
  const names = new Set(text.trim().split(/\s+/))
  return controllers.filter((name) => names.has(name))
}

/** The first mount of each tree wins, as in the runtimes. */
function cgroupMounts(mountinfo: string): Mount[] {
  return mountinfo.split('\n').flatMap((line) => {
    const fields = line.split(' ')
    const dash = fields.indexOf('-')
    const [target, type, options] = [fields[4], fields[dash + 1], fields[dash + 3]]
    if (dash < 0 || target === undefined || type === undefined || options === undefined) return []
    if (type !== 'cgroup' && type !== 'cgroup2') return []
    return [{ target: unescapePath(target), type, options: options.split(',') }]
  })
}

/** The kernel writes blanks and backslashes of a path as three octal digits. */
const unescapePath = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)))

/** Controller name -> path; the v2 tree has the empty name. */
function ownPaths(text: string): Map<string, string> {
  const paths = new Map<string, string>()
  for (const line of text.split('\n')) {
    const [, names, ...rest] = line.split(':')
    if (names === undefined || rest.length === 0) continue
    for (const name of names.split(',')) paths.set(name, rest.join(':'))
  }
  return paths
}
