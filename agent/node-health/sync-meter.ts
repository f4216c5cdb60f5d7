import type { Clock } from '../../base/clock.ts'
import type { LedgerFiles } from '../ledger/files.ts'

const kept = 256

/** How long the disk takes, measured by the syncs that the ledger makes anyway: looking costs no write. */
export class SyncMeter {
  readonly windowMs = 600_000
  readonly #clock: Clock
  readonly #syncs: { readonly atMs: number; readonly tookMs: number }[] = []
  #count = 0
  #totalMs = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get count(): number {
    return this.#count
  }
  get totalMs(): number {
    return this.#totalMs
  }

  /** Of the last ten minutes, the newest last. */
  recentMs(): readonly number[] {
    const sinceMs = this.#clock.monotonicMs() - this.windowMs
    return this.#syncs.filter((sync) => sync.atMs >= sinceMs).map((sync) => sync.tookMs)
  }

  /** The same files, with a watch on their syncs. */
  around(files: LedgerFiles): LedgerFiles {
    return {
      ...files,
      open: async (path) => {
        const file = await files.open(path)
        return {
          write: (bytes, position) => file.write(bytes, position),
          datasync: () => this.#timed(() => file.datasync()),
          truncate: (length) => file.truncate(length),
          close: () => file.close()
        }
      }
    }
  }

  async #timed(sync: () => Promise<void>): Promise<void> {
    const startedMs = this.#clock.monotonicMs()
    await sync()
    const nowMs = this.#clock.monotonicMs()
    this.#count += 1
    this.#totalMs += nowMs - startedMs
    this.#syncs.push({ atMs: nowMs, tookMs: nowMs - startedMs })
    if (this.#syncs.length > kept) this.#syncs.shift()
  }
}
