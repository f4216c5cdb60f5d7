import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Fault } from '../../base/fault.ts'
import type { Limits } from '../isolator.ts'
import { parseCores } from './cpuset.ts'

/** The processors of the NUMA nodes named as in cpuset(7), "List format"; of a node that is gone none. `sys`: where sysfs is mounted. */
export const coresOf = (nodes: string, sys = '/sys'): readonly number[] =>
  parseCores(nodes).flatMap((node) => {
    const file = join(sys, `devices/system/node/node${node}/cpulist`)
    return existsSync(file) ? parseCores(readFileSync(file, 'utf8')) : []
  })

/** Throws `Fault('invalid')` where the limits name what this host has not: a NUMA node, an RDMA device, a counted resource. */
export function checkHardware(limits: Limits, unified: string, sys = '/sys'): void {
  const nodes = [limits.numaNodes, limits.memoryNodes].flatMap((text) => parseCores(text ?? ''))
  if (nodes.length > 0) {
    const online = readFileSync(join(sys, 'devices/system/node/online'), 'utf8').trim()
    const missing = nodes.find((node) => !parseCores(online).includes(node))
    if (missing !== undefined) throw unknown(`NUMA node ${missing}`, `it has ${online}`)
  }
  for (const { device } of limits.rdma ?? [])
    if (!existsSync(join(sys, 'class/infiniband', device))) throw unknown(`RDMA device ${device}`, 'see `rdma link` there')
  const counted = (limits.misc ?? []).length === 0 ? [] : countedBy(unified)
  for (const { name } of limits.misc ?? [])
    if (!counted.includes(name))
      throw unknown(`counted resource ${name}`, `its misc controller counts ${counted.join(', ') || 'nothing'}`)
}

/** misc.capacity stands at the root of the hierarchy alone (cgroup-v2, "Misc"). */
const countedBy = (unified: string): readonly string[] =>
  readFileSync(join(unified, 'misc.capacity'), 'utf8')
    .split('\n')
    .flatMap((line) => line.split(' ')[0] || [])

const unknown = (what: string, has: string): Fault =>
  new Fault('invalid', `this node has no ${what}: ${has}`, { reason: 'unsupported_request' })
