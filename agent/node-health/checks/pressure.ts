import { type Check, rowsOf } from '../verdict.ts'

/** One line of /proc/pressure/*: shares of time in percent (Documentation/accounting/psi.rst). */
export interface Stall {
  readonly avg10: number
  readonly avg60: number
  readonly avg300: number
  readonly totalUs: number
}

export interface Pressure {
  readonly some: Stall
  /** Undefined for the CPU before Linux 5.13. */
  readonly full: Stall | undefined
}

export type PressureFacts = Readonly<Record<'cpu' | 'memory' | 'io', Pressure | undefined>>

/** Undefined for text that is not the kernel's. */
export function parsePressure(text: string): Pressure | undefined {
  const line = (name: string): Stall | undefined => {
    const found = new RegExp(`^${name} avg10=([\\d.]+) avg60=([\\d.]+) avg300=([\\d.]+) total=(\\d+)$`, 'm').exec(text)
    if (found === null) return undefined
    const [avg10 = 0, avg60 = 0, avg300 = 0, totalUs = 0] = found.slice(1).map(Number)
    return { avg10, avg60, avg300, totalUs }
  }
  const some = line('some')
  return some === undefined ? undefined : { some, full: line('full') }
}

const memoryWarning = 10
const memoryFailure = 60
const cpuWarning = 95
const ioWarning = 60

/**
 * Only memory can fail: while everything waits for memory most of the time, one task more takes the node down. A busy CPU or
 * disk is what a full node looks like.
 */
export function judgePressure(facts: PressureFacts): readonly Check[] {
  return [
    judge('pressure.cpu', facts.cpu, (p) => p.some.avg300, '% of the last 5 min something waited for a processor', {
      warning: cpuWarning,
      remedy: 'see who uses it: hearth node top; give tasks CPU limits or add a node'
    }),
    judge('pressure.memory', facts.memory, (p) => p.full?.avg60 ?? 0, '% of the last minute everything waited for memory', {
      warning: memoryWarning,
      failure: memoryFailure,
      remedy: 'see who uses it: hearth node top; kill or limit what is too large, or add memory'
    }),
    judge('pressure.io', facts.io, (p) => p.full?.avg300 ?? 0, '% of the last 5 min everything waited for a disk', {
      warning: ioWarning,
      remedy: 'see which disk is busy: iostat -x 1; move what writes most elsewhere'
    })
  ]
}

function judge(
  kind: string,
  pressure: Pressure | undefined,
  share: (pressure: Pressure) => number,
  words: string,
  bounds: { readonly warning: number; readonly failure?: number; readonly remedy: string }
): Check {
  const row = rowsOf(kind)
  if (pressure === undefined) return row.unknown('the kernel does not measure it', 'boot with psi=1')
  const percent = share(pressure)
  const reason = `${percent} ${words}`
  if (bounds.failure !== undefined && percent >= bounds.failure) return row.failure(reason, bounds.remedy)
  return percent >= bounds.warning ? row.warning(reason, bounds.remedy) : row.ok(reason)
}
