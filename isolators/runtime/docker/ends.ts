import type { ContainerExit } from '../runtime.ts'
import type { Engine } from './engine.ts'

interface Parts {
  readonly engine: () => Promise<Engine>
  sleep(ms: number, signal: AbortSignal): Promise<void>
}

interface Waiting {
  look(): void
}

const againMs = { first: 100, most: 2_000 } as const

/** Waits for the ends of containers by one stream of events for all; whenever it was lost, every one is looked at. */
export class Ends {
  readonly #parts: Parts
  readonly #label: () => string
  readonly #waiting = new Map<string, Waiting>()
  readonly #stopping = new AbortController()
  #listening: Promise<void> | undefined

  constructor(parts: Parts, label: () => string) {
    this.#parts = parts
    this.#label = label
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    await this.#listening
  }

  /** Resolves with the exit; with `lost` where somebody else removed the container. */
  wait(name: string, signal: AbortSignal): Promise<ContainerExit> {
    return new Promise<ContainerExit>((resolve, reject) => {
      const done = (settle: () => void): void => {
        this.#waiting.delete(name)
        signal.removeEventListener('abort', stop)
        settle()
      }
      const stop = (): void => done(() => reject(signal.reason as Error))
      const look = (): void => {
        this.#look(name).then(
          (exit) => {
            if (exit !== undefined) done(() => resolve(exit))
          },
          // Docker is down, or could not tell.
          () => void this.#parts.sleep(againMs.most, AbortSignal.any([signal, this.#stopping.signal])).then(look, () => undefined)
        )
      }
      signal.addEventListener('abort', stop, { once: true })
      if (signal.aborted) return stop()
      this.#waiting.set(name, { look })
      this.#listening ??= this.#listen()
      look()
    })
  }

  async #look(name: string): Promise<ContainerExit | undefined> {
    const engine = await this.#parts.engine()
    const seen = await engine.inspect(name)
    if (seen === undefined) return { kind: 'lost', why: 'the container ended, and somebody removed it from Docker' }
    return seen.state === 'ended' ? exitOf(seen) : undefined
  }

  async #listen(): Promise<void> {
    const { signal } = this.#stopping
    for (let pauseMs: number = againMs.first; !signal.aborted; pauseMs = Math.min(againMs.most, 2 * pauseMs)) {
      try {
        const engine = await this.#parts.engine()
        const { over } = await engine.ends(this.#label(), (name) => this.#waiting.get(name)?.look(), signal)
        // What ended before the connection stood tells no more.
        for (const { look } of this.#waiting.values()) look()
        pauseMs = againMs.first
        await over
      } catch {
        // Docker is down.
      }
      await this.#parts.sleep(pauseMs, signal).catch(() => undefined) // stopping
    }
  }
}

export const exitOf = (seen: { readonly exitCode: number; readonly outOfMemory: boolean }): ContainerExit => {
  const { exitCode: code, outOfMemory } = seen
  return {
    kind: 'exited',
    code,
    signal: code > 128 && code <= 128 + 64 ? code - 128 : undefined,
    outOfMemory: outOfMemory && code !== 0
  }
}
