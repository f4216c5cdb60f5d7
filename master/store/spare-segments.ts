import { join } from 'node:path'
import { errnoOf } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import type { Disk, DiskFile } from './disk.ts'
import { createZeroed, draftName, isDraft, reserveName } from './segment.ts'

interface SparesParts {
  readonly disk: Disk
  readonly log: Log
  /** Called for any failure but a full disk: after it nothing that this disk says can be trusted. */
  readonly onBroken: (cause: unknown) => void
}

interface SparesConfig {
  readonly directory: string
  readonly segmentBytes: number
}

export interface Draft {
  readonly path: string
  readonly file: DiskFile
  readonly bytes: number
}

/**
 * Keeps one zeroed segment ready and one more in reserve. When the disk has no room for them the log is `low`: the segments
 * that are there must last for hard state until a compaction has made room.
 */
export class SpareSegments {
  readonly #parts: SparesParts
  readonly #config: SparesConfig
  #ready: Draft | undefined
  #hasReserve = false
  #drafts = 0
  #turn: Promise<void> = Promise.resolve()
  #isFilling = false
  #low = false
  #closed = false

  constructor(parts: SparesParts, config: SparesConfig) {
    this.#parts = parts
    this.#config = config
  }

  get low(): boolean {
    return this.#low
  }

  /** Removes what a crash left half made. */
  async clear(): Promise<void> {
    const { disk } = this.#parts
    const drafts = (await disk.list(this.#config.directory)).filter(isDraft)
    for (const name of drafts) await disk.remove(this.#path(name))
  }

  /** Makes what is missing, in the background; also tries again after the disk was full. */
  fill(): void {
    if (this.#isFilling || this.#closed) return
    this.#isFilling = true
    void this.#inTurn(() => this.#fill())
  }

  /** A zeroed file of at least `bytes`, taken for good. Falls back to the reserve on a full disk. */
  take(bytes: number): Promise<Draft> {
    return this.#inTurn(async () => {
      const ready = this.#ready
      this.#ready = undefined
      if (ready !== undefined && ready.bytes >= bytes) return ready
      if (ready !== undefined) await this.#discard(ready)
      const wanted = Math.max(bytes, this.#config.segmentBytes)
      try {
        return await this.#create(wanted)
      } catch (e) {
        if (errnoOf(e) !== 'ENOSPC' || !this.#hasReserve || wanted > this.#config.segmentBytes) throw e
        return await this.#takeReserve()
      }
    })
  }

  /** Gives the reserve's space back to the file system, for a snapshot that will free far more. */
  releaseReserve(): Promise<boolean> {
    return this.#inTurn(async () => {
      if (!this.#hasReserve) return false
      this.#hasReserve = false
      this.#low = true
      await this.#parts.disk.remove(this.#path(reserveName))
      return true
    })
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#turn
    await this.#ready?.file.close()
    this.#ready = undefined
  }

  /** One at a time: filling, taking and releasing touch the same files. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work)
    this.#turn = done.then(
      () => undefined,
      // Told to whoever asked for the work; the next one starts afresh.
      () => undefined
    )
    return done
  }

  async #fill(): Promise<void> {
    try {
      if (!this.#hasReserve) await this.#makeReserve()
      this.#ready ??= await this.#create(this.#config.segmentBytes)
      if (this.#low) this.#parts.log.info({ directory: this.#config.directory }, 'wal.space_regained')
      this.#low = false
    } catch (error) {
      this.#fillFailed(error)
    } finally {
      this.#isFilling = false
    }
  }

  #fillFailed(error: unknown): void {
    if (errnoOf(error) !== 'ENOSPC') {
      this.#parts.onBroken(error)
      return
    }
    if (!this.#low) this.#parts.log.error({ error, directory: this.#config.directory }, 'wal.disk_full')
    this.#low = true
  }

  async #makeReserve(): Promise<void> {
    const { disk } = this.#parts
    const path = this.#path(reserveName)
    const { directory, segmentBytes } = this.#config
    const isThere = (await disk.list(directory)).includes(reserveName) && (await disk.sizeOf(path)) === segmentBytes
    if (!isThere) await (await createZeroed(disk, path, segmentBytes)).close()
    this.#hasReserve = true
  }

  async #create(bytes: number): Promise<Draft> {
    const path = this.#nextDraft()
    return { path, bytes, file: await createZeroed(this.#parts.disk, path, bytes) }
  }

  async #takeReserve(): Promise<Draft> {
    const { disk } = this.#parts
    const path = this.#nextDraft()
    await disk.rename(this.#path(reserveName), path)
    this.#hasReserve = false
    this.#low = true
    return { path, bytes: this.#config.segmentBytes, file: await disk.open(path) }
  }

  async #discard(draft: Draft): Promise<void> {
    await draft.file.close()
    await this.#parts.disk.remove(draft.path)
  }

  #nextDraft(): string {
    this.#drafts += 1
    return this.#path(draftName(this.#drafts))
  }

  #path(name: string): string {
    return join(this.#config.directory, name)
  }
}
