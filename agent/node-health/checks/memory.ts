import { type Check, rowsOf } from '../verdict.ts'
import { showBytes } from './words.ts'

export interface MemoryFacts {
  readonly totalBytes: number
  /** What can be had without swapping (proc(5), MemAvailable). */
  readonly availableBytes: number
  readonly swapTotalBytes: number
  readonly swapFreeBytes: number
}

/** Undefined for text that is not the kernel's. */
export function parseMeminfo(text: string): MemoryFacts | undefined {
  const bytes = (name: string): number | undefined => {
    const kibibytes = new RegExp(`^${name}:\\s*(\\d+) kB$`, 'm').exec(text)?.[1]
    return kibibytes === undefined ? undefined : Number(kibibytes) * 1024
  }
  const totalBytes = bytes('MemTotal')
  const availableBytes = bytes('MemAvailable')
  if (totalBytes === undefined || totalBytes === 0 || availableBytes === undefined) return undefined
  return { totalBytes, availableBytes, swapTotalBytes: bytes('SwapTotal') ?? 0, swapFreeBytes: bytes('SwapFree') ?? 0 }
}

export function judgeMemory(facts: MemoryFacts | undefined): Check {
  const row = rowsOf('memory')
  if (facts === undefined) return row.unknown('/proc/meminfo does not tell', 'mount /proc')
  const { totalBytes, availableBytes, swapTotalBytes, swapFreeBytes } = facts
  const share = availableBytes / totalBytes
  const swap = swapTotalBytes === 0 ? '' : `, swap ${showBytes(swapTotalBytes - swapFreeBytes)} of ${showBytes(swapTotalBytes)}`
  const reason = `${showBytes(availableBytes)} of ${showBytes(totalBytes)} available (${Math.floor(share * 100)} %)${swap}`
  const remedy = 'see who uses it: hearth node top; kill or limit what is too large, or add memory'
  if (share < 0.02) return row.failure(reason, remedy)
  return share < 0.08 ? row.warning(reason, remedy) : row.ok(reason)
}
