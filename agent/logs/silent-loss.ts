import { readFileSync, statfsSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** Words to conmon on its control pipe are read and not written on; longer ones than these are output. */
const controlBytes = 32
/** Less room than this is none for a record of any length. */
const fullBytes = 64 * 1024

/** Whether the disk of this path has no room left, for root either. A path that is gone has room enough. */
export function isDiskFull(path: string): boolean {
  try {
    const { bfree, bsize } = statfsSync(path)
    return bfree * bsize < fullBytes
  } catch {
    return false
  }
}

interface Counters {
  readonly inode: number
  readonly bytes: number
  readonly read: number
  readonly written: number
}

/**
 * What a full disk loses leaves a torn record (tear.ts), unless it was cut at a record's very end or before the first byte of a
 * new file. That is seen while it happens: conmon is asleep, has read output since the last look, and has written nothing, where
 * a healthy one writes more than it reads (Documentation/filesystems/proc.rst, 3.3: rchar and wchar).
 */
export class SilentLoss {
  readonly #pidPath: string
  #base: Counters | undefined

  constructor(controlPath: string) {
    this.#pidPath = join(dirname(controlPath), 'conmon.pid')
  }

  /** To be called at looks during which the disk is full; true where output was lost since the look before. */
  look(log: { readonly inode: number; readonly bytes: number }): boolean {
    const now = this.#counters(log)
    const base = this.#base
    if (base === undefined || now === undefined || now.inode !== base.inode || now.bytes !== base.bytes) {
      this.#base = now
      return false
    }
    if (now.written !== base.written || now.read - base.read <= controlBytes) return false
    this.#base = now
    return true
  }

  reset(): void {
    this.#base = undefined
  }

  #counters(log: { readonly inode: number; readonly bytes: number }): Counters | undefined {
    try {
      const pid = Number(readFileSync(this.#pidPath, 'latin1'))
      const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
      if (stat[stat.lastIndexOf(')') + 2] !== 'S') return undefined // between a read and its write, perhaps
      const io = readFileSync(`/proc/${pid}/io`, 'latin1')
      const of = (name: string): number => Number(new RegExp(`^${name}: (\\d+)$`, 'm').exec(io)?.[1] ?? Number.NaN)
      return { inode: log.inode, bytes: log.bytes, read: of('rchar'), written: of('wchar') }
    } catch {
      return undefined // conmon has ended
    }
  }
}
