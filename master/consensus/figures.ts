import type { Clock } from '../../base/clock.ts'
import type { Disk, DiskFile } from '../store/disk.ts'

export interface HistogramFacts {
  /** Cumulative: how many took at most `seconds`. */
  readonly buckets: readonly { readonly seconds: number; readonly count: number }[]
  readonly count: number
  readonly sumSeconds: number
}

const boundsMs: readonly number[] = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 5_000]

/** How long things took. */
class Histogram {
  readonly #counts: number[] = boundsMs.map(() => 0)
  #count = 0
  #sumMs = 0

  observe(ms: number): void {
    const bucket = boundsMs.findIndex((bound) => ms <= bound)
    if (bucket >= 0) this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1
    this.#count += 1
    this.#sumMs += ms
  }

  get facts(): HistogramFacts {
    let count = 0
    const buckets = boundsMs.map((bound, i) => {
      count += this.#counts[i] ?? 0
      return { seconds: bound / 1_000, count }
    })
    return { buckets, count: this.#count, sumSeconds: this.#sumMs / 1_000 }
  }
}

export interface FigureFacts {
  readonly fsync: HistogramFacts
  readonly commit: HistogramFacts
  readonly elections: number
  readonly terms: number
}

/** What one master counts of itself since it started. */
export class Figures {
  /** What makes the log and snapshots durable, fdatasync or a synced write, the wait for a thread included. */
  readonly fsync = new Histogram()
  /** From a proposal to its answer, where it was applied. */
  readonly commit = new Histogram()
  /** How often this master stood for an election. */
  elections = 0
  /** How many terms it has led. */
  terms = 0

  get facts(): FigureFacts {
    return { fsync: this.fsync.facts, commit: this.commit.facts, elections: this.elections, terms: this.terms }
  }
}

/** The same disk, whose syncs are timed. */
export function timedDisk(disk: Disk, clock: Pick<Clock, 'monotonicMs'>, { fsync }: Figures): Disk {
  const observed = async <T>(work: Promise<T>): Promise<T> => {
    const sinceMs = clock.monotonicMs()
    const done = await work
    fsync.observe(clock.monotonicMs() - sinceMs)
    return done
  }
  const timed = (file: DiskFile): DiskFile => ({
    write: (bytes, position) => file.write(bytes, position),
    writeSynced: (bytes, position) => observed(file.writeSynced(bytes, position)),
    sync: () => observed(file.sync()),
    close: () => file.close()
  })
  return {
    ...disk,
    create: async (path) => timed(await disk.create(path)),
    open: async (path) => timed(await disk.open(path))
  }
}
