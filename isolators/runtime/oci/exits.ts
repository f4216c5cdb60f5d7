import { type FSWatcher, mkdirSync, readFileSync, watch } from 'node:fs'
import { join } from 'node:path'

/**
 * Exit codes as conmon leaves them: a file `<directory>/<containerId>`, written beside and renamed, so that it is complete when
 * it is seen. One watch for all containers.
 */
export class ExitFiles {
  readonly #directory: string
  readonly #waiting = new Map<string, () => void>()
  #watcher: FSWatcher | undefined

  constructor(directory: string) {
    this.#directory = directory
  }

  start(): void {
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 })
    this.#watcher = watch(this.#directory, (_event, name) => {
      // No name: the queue overflowed, so everybody looks again.
      if (name === null) for (const look of this.#waiting.values()) look()
      else this.#waiting.get(name)?.()
    })
  }

  stop(): void {
    this.#watcher?.close()
    this.#watcher = undefined
  }

  /** Undefined where there is none, or something that conmon does not write: it proves nothing. */
  read(containerId: string): number | undefined {
    try {
      const text = readFileSync(join(this.#directory, containerId), 'utf8')
      return /^\d{1,3}$/.test(text) && Number(text) <= 255 ? Number(text) : undefined
    } catch {
      return undefined // not there yet
    }
  }

  pathOf(containerId: string): string {
    return join(this.#directory, containerId)
  }

  /** Calls `look` whenever the container's file may have come; the caller reads. */
  watch(containerId: string, look: () => void): () => void {
    this.#waiting.set(containerId, look)
    return () => {
      if (this.#waiting.get(containerId) === look) this.#waiting.delete(containerId)
    }
  }
}
