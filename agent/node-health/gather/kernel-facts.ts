import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Budget } from '../checks/budgets.ts'
import { type MemoryFacts, parseMeminfo } from '../checks/memory.ts'
import { type PressureFacts, parsePressure } from '../checks/pressure.ts'
import { type NodeRoots, readIfThere } from './roots.ts'

/** Reads what the kernel tells in small files: cheap enough for every half minute. */

export async function readPressure(roots: NodeRoots): Promise<PressureFacts> {
  const of = async (name: string) => parsePressure((await readIfThere(join(roots.proc, 'pressure', name))) ?? '')
  const [cpu, memory, io] = await Promise.all([of('cpu'), of('memory'), of('io')])
  return { cpu, memory, io }
}

export async function readMemory(roots: NodeRoots): Promise<MemoryFacts | undefined> {
  return parseMeminfo((await readIfThere(join(roots.proc, 'meminfo'))) ?? '')
}

async function numberIn(path: string): Promise<number> {
  return Number((await readIfThere(path)) ?? Number.NaN)
}

export const readEntropy = (roots: NodeRoots): Promise<number> => numberIn(join(roots.proc, 'sys/kernel/random/entropy_avail'))

export async function readConntrack(roots: NodeRoots): Promise<Budget | { readonly absent: string }> {
  const folder = join(roots.proc, 'sys/net/netfilter')
  if ((await readIfThere(join(folder, 'nf_conntrack_max'))) === undefined) {
    return { absent: 'the kernel tracks no connections: the module nf_conntrack is not loaded' }
  }
  const [used, limit] = await Promise.all([
    numberIn(join(folder, 'nf_conntrack_count')),
    numberIn(join(folder, 'nf_conntrack_max'))
  ])
  return { used, limit }
}

/** fs/file-nr: open, free (always 0), most (proc(5)). */
export async function readOpenFiles(roots: NodeRoots): Promise<Budget> {
  const [used = Number.NaN, , limit = Number.NaN] = ((await readIfThere(join(roots.proc, 'sys/fs/file-nr'))) ?? '')
    .trim()
    .split(/\s+/)
    .map(Number)
  return { used, limit }
}

/** Open files of one process against its soft limit; `self` for this one. */
export async function readProcessFiles(roots: NodeRoots, pid: number | 'self'): Promise<Budget> {
  const folder = join(roots.proc, String(pid))
  const [names, limits] = await Promise.all([readdir(join(folder, 'fd')), readIfThere(join(folder, 'limits'))])
  const soft = /^Max open files\s+(\d+)/m.exec(limits ?? '')?.[1]
  return { used: names.length, limit: Number(soft ?? Number.NaN) }
}

/** The fourth field of /proc/loadavg is runnable/existing threads; pid_max and threads-max both bound them. */
export async function readThreads(roots: NodeRoots): Promise<Budget> {
  const kernel = join(roots.proc, 'sys/kernel')
  const [loadavg, pidMax, threadsMax] = await Promise.all([
    readIfThere(join(roots.proc, 'loadavg')),
    numberIn(join(kernel, 'pid_max')),
    numberIn(join(kernel, 'threads-max'))
  ])
  const used = Number(/^\S+ \S+ \S+ \d+\/(\d+)/.exec(loadavg ?? '')?.[1] ?? Number.NaN)
  return { used, limit: Math.min(pidMax, threadsMax) }
}
