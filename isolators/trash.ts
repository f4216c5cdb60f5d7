import { mkdirSync, renameSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Service } from '../base/service.ts'

interface Parts {
  sleep(ms: number, signal: AbortSignal): Promise<void>
  /** Told of what cannot be deleted; it is tried again after the next thing that is thrown away. */
  readonly onFailure: (path: string, error: unknown) => void
}

interface Config {
  /** On the file system of what is thrown away. */
  readonly directory: string
  /** Between the first thing thrown away and the deletion of all that lies there by then. */
  readonly pauseMs: number
}

/**
 * Directories that nothing needs any more. A rename puts them out of the way at once; deleting them, which on a journaling file
 * system takes the kernel up to milliseconds a directory, is nobody's wait.
 */
export class Trash implements Service {
  readonly name = 'trash'
  readonly #parts: Parts
  readonly #config: Config
  readonly #stop = new AbortController()
  #emptying: Promise<void> | undefined
  #isMade = false

  constructor(parts: Parts, config: Config) {
    this.#parts = parts
    this.#config = config
  }

  /** Goes on with what an agent before left here. */
  async start(): Promise<void> {
    this.#emptyLater()
  }

  /** Empties it now, as far as it gets until `deadline` aborts. */
  async stop(deadline: AbortSignal): Promise<void> {
    this.#stop.abort()
    await this.#emptying
    await this.#empty(deadline)
  }

  /** False where the directory could not be moved: it is gone, or the disk is full. Then it stays where it is. */
  take(path: string): boolean {
    const { directory } = this.#config
    try {
      if (!this.#isMade) mkdirSync(directory, { recursive: true, mode: 0o700 })
      this.#isMade = true
      renameSync(path, join(directory, `${basename(dirname(path))}-${basename(path)}`))
    } catch {
      return false
    }
    this.#emptyLater()
    return true
  }

  #emptyLater(): void {
    if (this.#stop.signal.aborted) return
    this.#emptying ??= this.#pauseAndEmpty().finally(() => {
      this.#emptying = undefined
    })
  }

  async #pauseAndEmpty(): Promise<void> {
    const { signal } = this.#stop
    await this.#parts.sleep(this.#config.pauseMs, signal).catch(() => undefined) // stopping: `stop` does the rest
    await this.#empty(signal)
  }

  async #empty(signal: AbortSignal): Promise<void> {
    const { directory } = this.#config
    // Again, for what was thrown away meanwhile; what cannot be deleted is not tried twice.
    for (const failed = new Set<string>(); ; ) {
      const names = (await readdir(directory).catch(() => [])).filter((name) => !failed.has(name)) // nothing was ever thrown away
      if (names.length === 0) return
      for (const name of names) {
        if (signal.aborted) return
        const path = join(directory, name)
        await rm(path, { recursive: true, force: true }).catch((error: unknown) => {
          failed.add(name)
          this.#parts.onFailure(path, error)
        })
      }
    }
  }
}
