import { join } from 'node:path'
import { errnoOf } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import type { Disk, DiskFile } from './disk.ts'
import { createZeroed, draftName, reserveName } from './segment.ts'

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
  #work: Promise<void> = Promise.resolve()
  #busy = false
  #low = false
  #closed = false

  constructor(parts: SparesParts, config: SparesConfig) {
    this.#parts = parts
    this.#config = config
  }

  get low(): boolean {
    return this.#low
  }

  /** Makes what is missing, in the background; also tries again after the disk was full. */
  fill(): void {
    if (this.#busy || this.#closed) return
    this.#busy = true
    this.#work = this.#fill().finally(() => {
      this.#busy = false
    })
  }

  /** A zeroed file of at least `bytes`, taken for good. Falls back to the reserve on a full disk. */
  async take(bytes: number): Promise<Draft> {
    await this.#work
    const ready = this.#ready
    this.#ready = undefined
    if (ready !== undefined && ready.bytes >= bytes) return ready
    await ready?.file.close()
    const wanted = Math.max(bytes, this.#config.segmentBytes)
    try {
      return await this.#create(wanted)
    } catch (e) {
      if (errnoOf(e) !== 'ENOSPC' || !this.#hasReserve || wanted > this.#config.segmentBytes) throw e
      return await this.#takeReserve()
    }
  }

  /** Gives the reserve's space back to the file system, for a snapshot that will free far more. */
  async releaseReserve(): Promise<boolean> {
    await this.#work
    if (!this.#hasReserve) return false
    this.#hasReserve = false
    this.#low = true
    await this.#parts.disk.remove(this.#path(reserveName))
    return true
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#work
    await this.#ready?.file.close()
    this.#ready = undefined
  }

  async #fill(): Promise<void> {
    try {
      if (!this.#hasReserve) await this.#makeReserve()
      this.#ready ??= await this.#create(this.#config.segmentBytes)
      if (this.#low) this.#parts.log.info({ directory: this.#config.directory }, 'wal.space_regained')
      this.#low = false
    } catch (error) {
      if (errnoOf(error) !== 'ENOSPC') {
        this.#parts.onBroken(error)
        return
      }
      if (!this.#low) this.#parts.log.error({ error, directory: this.#config.directory }, 'wal.disk_full')
      this.#low = true
    }
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
    const path = this.#path(draftName)
    return { path, bytes, file: await createZeroed(this.#parts.disk, path, bytes) }
  }

  async #takeReserve(): Promise<Draft> {
    const { disk } = this.#parts
    const path = this.#path(draftName)
    await disk.rename(this.#path(reserveName), path)
    this.#hasReserve = false
    this.#low = true
    return { path, bytes: this.#config.segmentBytes, file: await disk.open(path) }
  }

  #path(name: string): string {
    return join(this.#config.directory, name)
  }
}
