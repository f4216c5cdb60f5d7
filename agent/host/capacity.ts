import { readFile, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { Fault } from '../../base/fault.ts'
import { type Resources, ranges, scalar } from '../../proto/resources.ts'
import type { HostRoots } from './cgroups.ts'

const gibibyte = 1024 ** 3
const memoryReserve = gibibyte
const diskReserve = 5 * gibibyte

/**
 * What this host offers: the processors it may use, memory less 1 GiB for the host and disk less 5 GiB (half of it on a host
 * smaller than twice the reserve, as Mesos does), ports 31000-32000.
 */
export async function readCapacity(roots: HostRoots, stateDir: string): Promise<Resources> {
  const [status, meminfo, disk] = await Promise.all([
    readFile(join(roots.proc, 'self/status'), 'utf8'),
    readFile(join(roots.proc, 'meminfo'), 'utf8'),
    statfs(stateDir)
  ])
  // What root alone may use counts as used: it would be promised and not be there.
  const diskBytes = (disk.blocks - disk.bfree + disk.bavail) * disk.bsize
  return [
    scalar('cpus', countCpus(status) * 1000),
    scalar('mem', afterReserve(memoryTotal(meminfo), memoryReserve)),
    scalar('disk', afterReserve(diskBytes, diskReserve)),
    ranges('ports', [{ begin: 31_000, end: 32_000 }])
  ]
}

export const afterReserve = (total: number, reserve: number): number =>
  total < 2 * reserve ? Math.floor(total / 2) : total - reserve

/** Processors in `Cpus_allowed_list` of /proc/self/status: affinity and cpuset in one. */
function countCpus(status: string): number {
  const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1]
  if (list === undefined) throw new Fault('unavailable', 'the kernel does not say which processors may be used')
  return list.split(',').reduce((sum, span) => {
    const [first = 0, last = first] = span.split('-').map(Number)
    return sum + last - first + 1
  }, 0)
}

function memoryTotal(meminfo: string): number {
  const kibibytes = /^MemTotal:\s*(\d+) kB$/m.exec(meminfo)?.[1]
  if (kibibytes === undefined) throw new Fault('unavailable', 'the kernel does not say how much memory there is')
  return Number(kibibytes) * 1024
}
