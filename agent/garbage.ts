import type { Clock } from '../base/clock.ts'
import { isFault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import type { Service } from '../base/service.ts'

interface Freed {
  readonly bytes: number
  readonly layers: number
}

interface Parts {
  readonly images: {
    collect(inUse: ReadonlySet<string>, signal: AbortSignal): Promise<Freed>
    close(): Promise<void>
    relieve(inUse: ReadonlySet<string>, signal: AbortSignal): Promise<Freed & { readonly images: readonly string[] }>
  }
  /** Digests of the images that containers of this agent run from. */
  readonly inUse: () => ReadonlySet<string>
  readonly clock: Clock
  readonly log: Log
}

/**
 * Every so often: collects layers that no image and no container needs any more (replaced images, old views of the host), and removes
 * unused images where the disk is nearly full.
 */
export class Garbage implements Service {
  readonly name = 'garbage'
  readonly #parts: Parts
  readonly #everyMs: number
  readonly #stop = new AbortController()
  #loop: Promise<void> | undefined

  constructor(parts: Parts, config: { readonly everyMs: number }) {
    this.#parts = parts
    this.#everyMs = config.everyMs
  }

  async start(): Promise<void> {
    this.#loop = this.#collectAgain()
  }

  async stop(): Promise<void> {
    this.#stop.abort()
    await this.#loop
    await this.#parts.images.close()
  }

  async #collectAgain(): Promise<void> {
    const { images, inUse, clock, log } = this.#parts
    const { signal } = this.#stop
    while (!signal.aborted) {
      try {
        await clock.sleep(this.#everyMs, signal)
        const { layers, bytes } = await images.collect(inUse(), signal)
        if (layers > 0) log.info({ layers, bytes }, 'images.collected')
        const relieved = await images.relieve(inUse(), signal)
        if (relieved.images.length > 0)
          log.warn({ images: relieved.images.length, bytes: relieved.bytes }, 'images.pruned_for_room')
      } catch (e) {
        if (signal.aborted) return
        if (!isFault(e)) throw e
        log.warn({ code: e.code, fault: e.message }, 'images.not_collected')
      }
    }
  }
}
