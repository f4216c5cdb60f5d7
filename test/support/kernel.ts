import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { bootDirectoryName } from '../../agent/host/boot-directory.ts'
import { cgroupDirectories, readCgroupLayout } from '../../isolators/cgroup2/layout.ts'

/**
 * What the kernel holds of one state directory, looked up without the agent: processes, mounts and cgroups that name it, and
 * all network namespaces, links and nft tables (of which Hearth makes none yet). Other tests run beside, so only what is
 * provably this cluster's is listed by name.
 */
export function kernelObjectsOf(stateDir: string): readonly string[] {
  return [...processes(stateDir), ...mounts(stateDir), ...cgroups(stateDir), ...bootFiles(stateDir), ...network()].sort()
}

function processes(stateDir: string): readonly string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((pid) => {
      const command = read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim()
      const inside = read(`/proc/${pid}/cgroup`).includes(parentOf(stateDir)) || read(`/proc/${pid}/mountinfo`).includes(stateDir)
      return command !== '' && (command.includes(stateDir) || inside) ? [`process ${command}`] : []
    })
}

/** What lies in memory on behalf of the state directory. */
const bootFiles = (stateDir: string): readonly string[] =>
  ['/run', '/dev/shm']
    .map((tmpfs) => join(tmpfs, bootDirectoryName(join(stateDir, 'run'))))
    .filter((path) => existsSync(path))
    .map((path) => `directory ${path}`)

const mounts = (stateDir: string): readonly string[] =>
  read('/proc/self/mountinfo')
    .split('\n')
    .filter((line) => line.includes(stateDir))
    .map((line) => `mount ${line.split(' ')[4] ?? ''}`)

function cgroups(stateDir: string): readonly string[] {
  return cgroupDirectories(readCgroupLayout(), parentOf(stateDir)).flatMap((directory) => {
    try {
      return [
        `cgroup ${directory}`,
        ...readdirSync(directory, { withFileTypes: true })
          .filter((e) => e.isDirectory())
          .map((e) => `cgroup ${join(directory, e.name)}`)
      ]
    } catch {
      return [] // not there: nothing to list
    }
  })
}

function network(): readonly string[] {
  const links = JSON.parse(execFileSync('ip', ['-j', 'link'], { encoding: 'utf8' })) as readonly { readonly ifname: string }[]
  const tables = execFileSync('nft', ['list', 'tables'], { encoding: 'utf8' }).split('\n')
  const named = execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' }).split('\n')
  const ours = (text: string): boolean => /hearth/.test(text)
  return [
    ...links
      .map((l) => l.ifname)
      .filter(ours)
      .map((l) => `link ${l}`),
    ...tables.filter(ours).map((l) => `nft ${l}`),
    ...named.filter(ours).map((l) => `netns ${l}`)
  ]
}

/** As agent/config.ts names it. */
const parentOf = (stateDir: string): string => `/hearth-${createHash('sha256').update(stateDir).digest('hex').slice(0, 8)}`

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return '' // the process has ended meanwhile
  }
}
