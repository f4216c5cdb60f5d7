import { closeSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { type CgroupLayout, unifiedDirectory } from './layout.ts'

/** What one container uses, and for what it waits; null where this host does not count it. */
export interface Counters {
  readonly cpuUs: number | null
  readonly memoryBytes: number | null
  readonly pids: number | null
  /** Share of the last 10 s in which something of it waited, in percent. */
  readonly pressure: { readonly cpu: number | null; readonly memory: number | null; readonly io: number | null }
}

type Parse = (bytes: Buffer, length: number) => number

/** One read of the kernel gives such a file whole; what stands behind is not looked at. */
const buffer = Buffer.alloc(512)

function digits(bytes: Buffer, from: number, length: number): number {
  let value = 0
  for (let at = from; at < length; at += 1) {
    const digit = (bytes[at] ?? 0) - 0x30
    if (digit < 0 || digit > 9) return at === from ? Number.NaN : value
    value = value * 10 + digit
  }
  return value
}

const whole: Parse = (bytes, length) => digits(bytes, 0, length)
const nanoseconds: Parse = (bytes, length) => Math.round(whole(bytes, length) / 1_000)
/** `usage_usec 123` is the first line of cpu.stat (cgroup-v2, "CPU Interface Files"). */
const usageUsec: Parse = (bytes, length) => digits(bytes, 11, length)
/** `some avg10=1.23 ` begins a file of pressure (accounting/psi). */
const someAvg10: Parse = (bytes, length) => {
  const units = digits(bytes, 11, length)
  const point = bytes.indexOf(0x2e, 11)
  const hundredths = digits(bytes, point + 1, Math.min(length, point + 3))
  return units + hundredths / 100
}

interface Source {
  readonly path: string
  readonly parse: Parse
  /** Not open: not yet, or it is not there. */
  descriptor: number | undefined
  isAbsent: boolean
}

/**
 * The counters of one container over descriptors that stay open: opening a file of the cgroup file system costs several times what
 * reading it does. To be closed; a container that is gone has nulls.
 */
export class KeptCounters {
  readonly #sources: Readonly<Record<'cpu' | 'memory' | 'pids' | 'cpuPressure' | 'memoryPressure' | 'ioPressure', Source>>

  constructor(layout: CgroupLayout, path: string) {
    const own = unifiedDirectory(layout, path) ?? ''
    const of = (controller: string, classic: string, unified: string, parseClassic: Parse, parse: Parse): Source => {
      const mount = layout.classic.get(controller)
      return mount === undefined ? source(join(own, unified), parse) : source(join(mount, path, classic), parseClassic)
    }
    this.#sources = {
      cpu: of('cpuacct', 'cpuacct.usage', 'cpu.stat', nanoseconds, usageUsec),
      memory: of('memory', 'memory.usage_in_bytes', 'memory.current', whole, whole),
      pids: of('pids', 'pids.current', 'pids.current', whole, whole),
      cpuPressure: source(join(own, 'cpu.pressure'), someAvg10),
      memoryPressure: source(join(own, 'memory.pressure'), someAvg10),
      ioPressure: source(join(own, 'io.pressure'), someAvg10)
    }
  }

  read(): Counters {
    const { cpu, memory, pids, cpuPressure, memoryPressure, ioPressure } = this.#sources
    const counters = {
      cpuUs: readSource(cpu),
      memoryBytes: readSource(memory),
      pids: readSource(pids),
      pressure: { cpu: readSource(cpuPressure), memory: readSource(memoryPressure), io: readSource(ioPressure) }
    }
    // Where none of them is there the container is, most likely, not made yet.
    const all = Object.values(this.#sources)
    if (all.every((each) => each.isAbsent)) for (const each of all) each.isAbsent = false
    return counters
  }

  close(): void {
    for (const each of Object.values(this.#sources)) {
      if (each.descriptor !== undefined) closeSync(each.descriptor)
      each.descriptor = undefined
    }
  }
}

const source = (path: string, parse: Parse): Source => ({ path, parse, descriptor: undefined, isAbsent: false })

function readSource(of: Source): number | null {
  if (of.isAbsent) return null
  try {
    of.descriptor ??= openSync(of.path, 'r')
    const value = of.parse(buffer, readSync(of.descriptor, buffer, 0, buffer.length, 0))
    return Number.isFinite(value) ? value : null
  } catch {
    of.isAbsent = true // not counted here, or gone with its container
    return null
  }
}
