import { readdirSync, readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { namesWorld, type Places } from './places.ts'

export interface SeenProcess {
  readonly pid: number
  /** `program`: inside a container; `child`: another process of the agent (unpack, terminal); `watchdog`: of leases. */
  readonly kind: 'agent' | 'monitor' | 'runtime' | 'program' | 'child' | 'watchdog'
  /** Empty where none is known. */
  readonly containerId: string
  readonly command: string
}

const idPattern = /\b[0-9a-f]{32}\b/

/** Processes that name the state directory, or sit in a cgroup below the parent. Zombies hold nothing and are left out. */
export function seeProcesses(places: Places): readonly SeenProcess[] {
  const inside = new RegExp(`:${places.cgroupParent}/([^/\n]+)`)
  return readdirSync('/proc').flatMap((name): SeenProcess[] => {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) return []
    const cgroup = read(`/proc/${name}/cgroup`)
    const words = read(`/proc/${name}/cmdline`).split('\0')
    const command = words.join(' ').trim()
    const own = inside.exec(cgroup)?.[1]
    if (own === undefined && !namesWorld(places, command)) return []
    if (/^State:\s+[ZX]/m.test(read(`/proc/${name}/status`))) return []
    const kind = kindOf(words, own)
    const containerId = own !== undefined && idPattern.test(own) ? own : (idPattern.exec(command)?.[0] ?? '')
    return [{ pid: Number(name), kind, containerId, command: command.slice(0, 200) }]
  })
}

function kindOf(words: readonly string[], cgroup: string | undefined): SeenProcess['kind'] {
  const programs = words.slice(0, 4).map((word) => basename(word))
  if (programs[0] === 'conmon') return 'monitor'
  if (programs.some((name) => name === 'agent.cjs' || name === 'start-agent.cjs')) return 'agent'
  if (programs.includes('lease-watchdog')) return 'watchdog'
  if (programs.some((name) => name === 'runc' || name === 'crun')) return 'runtime'
  return cgroup !== undefined && idPattern.test(cgroup) ? 'program' : 'child'
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return '' // it has ended
  }
}
