import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { namesWorld, type Places } from './places.ts'
import type { SeenProcess } from './processes.ts'

export interface SeenCgroup {
  readonly path: string
  /** The first part below the parent: a container's id, or another name; empty for the parent itself. */
  readonly name: string
}

export interface KernelObjects {
  /** Those of the containers below the parent, in every hierarchy; the parent and what stands beside them where it is there. */
  readonly cgroups: readonly SeenCgroup[]
  /** Mount points that name the world, in any mount namespace but those of its containers. */
  readonly mounts: readonly string[]
  readonly networkNamespaces: readonly string[]
  readonly links: readonly string[]
  readonly nftElements: readonly string[]
  readonly loopDevices: readonly string[]
}

/** `links` false: what only other programs can tell, links and nft elements, is left out. */
export function seeKernelObjects(
  places: Places,
  containerIds: readonly string[],
  processes: readonly SeenProcess[],
  links = true
): KernelObjects {
  const { stateDir, cgroupParent } = places
  const mountTable = read('/proc/self/mountinfo')
  // A link's name has 15 characters, so it can carry no more of an id than some of its first.
  const ids = containerIds.map((id) => id.slice(0, 8))
  const names = (text: string): boolean => namesWorld(places, text) || ids.some((id) => text.includes(id))
  return {
    cgroups: cgroupMounts(mountTable).flatMap((mount) => cgroupsBelow(join(mount, cgroupParent))),
    mounts: mountsOf(places, containerNamespaces(processes)),
    networkNamespaces: [...nsfsMounts(mountTable), ...list('/run/netns')].filter(names),
    links: links ? linkTexts().filter(names) : [],
    nftElements: links ? nftLines().filter(names) : [],
    loopDevices: list('/sys/block').filter((name) => {
      return name.startsWith('loop') && read(`/sys/block/${name}/loop/backing_file`).startsWith(stateDir)
    })
  }
}

/** proc(5), mountinfo: field 5 is the mount point, the type stands after ` - `. */
function cgroupMounts(mountTable: string): readonly string[] {
  const rows = mountTable.split('\n').filter((line) => / - cgroup2? /.test(line))
  return [...new Set(rows.map((line) => line.split(' ')[4] ?? ''))]
}

function cgroupsBelow(parent: string): readonly SeenCgroup[] {
  const walk = (path: string, name: string): SeenCgroup[] => {
    const children = folders(path)
    if (children === undefined) return []
    return [{ path, name }, ...children.flatMap((child) => walk(join(path, child), name === '' ? child : name))]
  }
  return walk(parent, '')
}

function folders(path: string): readonly string[] | undefined {
  try {
    return readdirSync(path, { withFileTypes: true })
      .filter((e) => e.isDirectory())
      .map((e) => e.name)
  } catch {
    return undefined // not there
  }
}

const containerNamespaces = (processes: readonly SeenProcess[]): ReadonlySet<string> =>
  new Set(processes.filter((p) => p.kind === 'program' || p.kind === 'runtime').map((p) => namespaceOf(p.pid)))

function mountsOf(places: Places, except: ReadonlySet<string>): readonly string[] {
  const looked = new Set(except)
  return list('/proc').flatMap((pid): string[] => {
    if (!/^\d+$/.test(pid)) return []
    const namespace = namespaceOf(Number(pid))
    if (namespace === '' || looked.has(namespace)) return []
    looked.add(namespace)
    const rows = read(`/proc/${pid}/mountinfo`).split('\n')
    return rows.filter((line) => namesWorld(places, line)).map((line) => line.split(' ')[4] ?? '')
  })
}

function namespaceOf(pid: number): string {
  try {
    return readlinkSync(`/proc/${pid}/ns/mnt`)
  } catch {
    return '' // it has ended
  }
}

const nsfsMounts = (mountTable: string): readonly string[] =>
  mountTable
    .split('\n')
    .filter((line) => line.includes(' - nsfs '))
    .map((line) => line.split(' ')[4] ?? '')

/** Name and alias of every link of this network namespace. */
function linkTexts(): readonly string[] {
  const links = JSON.parse(run('ip', ['-j', 'link']) || '[]') as readonly { readonly ifname: string; readonly ifalias?: string }[]
  return links.map((l) => `${l.ifname} ${l.ifalias ?? ''}`.trim())
}

const nftLines = (): readonly string[] =>
  run('nft', ['list', 'ruleset'])
    .split('\n')
    .map((line) => line.trim())

const run = (program: string, args: readonly string[]): string =>
  execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 64 * 1024 * 1024 })

function list(path: string): readonly string[] {
  try {
    return readdirSync(path)
  } catch {
    return [] // not there
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return '' // gone meanwhile
  }
}
