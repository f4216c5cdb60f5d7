import type { Random } from '../../base/random.ts'
import type { Disk, DiskFile } from '../../master/store/disk.ts'
import { Platter, type Platters } from './platters.ts'
import type { Schedule } from './schedule.ts'

/** What goes wrong with the disk of one master, and for how long. */
export interface DiskTrouble {
  /** Added to the next sync. */
  stallMs: number
  /** Nothing can grow. */
  isFull: boolean
  /** The next sync fails and loses what it should have stored. */
  failsSync: boolean
}

interface SimDiskParts {
  readonly schedule: Schedule
  readonly random: Random
  readonly platters: Platters
  readonly trouble: DiskTrouble
  readonly latencyMs: number
  /** Runs what comes back to the process: now, or when it is no longer stopped. */
  readonly gate: (work: () => void) => void
  /** Told of every file whose content on the disk has changed. */
  readonly onDurable: (path: string, platter: Platter) => void
}

const failure = (code: string): Error => Object.assign(new Error(`${code}: injected`), { code })

/** The disk as one life of a process sees it: when that life ends, nothing it has asked for is ever answered. */
export class SimDisk implements Disk {
  isDead = false
  readonly #parts: SimDiskParts

  constructor(parts: SimDiskParts) {
    this.#parts = parts
  }

  makeDirectory(): Promise<void> {
    return this.#soon(() => undefined)
  }

  list(path: string): Promise<string[]> {
    const prefix = `${path}/`
    return this.#soon(() =>
      [...this.#parts.platters.names.keys()]
        .filter((name) => name.startsWith(prefix))
        .map((name) => name.slice(prefix.length))
        .sort()
    )
  }

  sizeOf(path: string): Promise<number> {
    return this.#soon(() => this.#at(path).bytes.length)
  }

  readAll(path: string): Promise<Buffer> {
    return this.#soon(() => Buffer.from(this.#at(path).bytes))
  }

  create(path: string): Promise<DiskFile> {
    return this.#soon(() => {
      const platter = new Platter()
      this.#parts.platters.change((names) => names.set(path, platter))
      return this.#file(path, platter)
    })
  }

  open(path: string): Promise<DiskFile> {
    return this.#soon(() => this.#file(path, this.#at(path)))
  }

  rename(from: string, to: string): Promise<void> {
    return this.#soon(() => {
      const platter = this.#at(from)
      this.#parts.platters.change((names) => {
        names.delete(from)
        names.set(to, platter)
      })
    })
  }

  remove(path: string): Promise<void> {
    return this.#soon(() => this.#parts.platters.change((names) => void names.delete(path)))
  }

  syncDirectory(): Promise<void> {
    return this.#later(() => this.#parts.platters.syncNames())
  }

  #file(path: string, platter: Platter): DiskFile {
    const write = (bytes: Uint8Array, position: number): Promise<number> => {
      // The caller may use its buffer again, as the kernel lets it.
      const copy = Buffer.from(bytes)
      return this.#soon(() => {
        if (this.#parts.trouble.isFull && position + copy.length > platter.bytes.length) throw failure('ENOSPC')
        platter.write(copy, position)
        return copy.length
      })
    }
    const sync = (): Promise<void> =>
      this.#later(() => {
        if (this.#parts.trouble.failsSync) {
          this.#parts.trouble.failsSync = false
          platter.failToSync()
          throw failure('EIO')
        }
        platter.sync()
        this.#parts.onDurable(path, platter)
      })
    const writeSynced = async (bytes: Uint8Array, position: number): Promise<number> => {
      const written = await write(bytes, position)
      await sync()
      return written
    }
    return { write, writeSynced, sync, close: () => Promise.resolve() }
  }

  #at(path: string): Platter {
    const platter = this.#parts.platters.names.get(path)
    if (platter === undefined) throw failure('ENOENT')
    return platter
  }

  #soon<T>(work: () => T): Promise<T> {
    return this.#after(0, work)
  }

  #later<T>(work: () => T): Promise<T> {
    const { random, latencyMs, trouble } = this.#parts
    const delayMs = random.between(0, latencyMs) + trouble.stallMs
    trouble.stallMs = 0
    return this.#after(delayMs, work)
  }

  #after<T>(delayMs: number, work: () => T): Promise<T> {
    const { schedule } = this.#parts
    return new Promise((resolve, reject) => {
      if (this.isDead) return
      schedule.after(delayMs, () => {
        if (this.isDead) return
        // The disk works also while the process is stopped.
        const settle = outcome(work, resolve, reject)
        this.#parts.gate(() => {
          schedule.stir()
          settle()
        })
      })
    })
  }
}

function outcome<T>(work: () => T, resolve: (value: T) => void, reject: (error: unknown) => void): () => void {
  try {
    const value = work()
    return () => resolve(value)
  } catch (error) {
    return () => reject(error)
  }
}
