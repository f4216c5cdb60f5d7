import { join } from 'node:path'
import type { CgroupLayout } from '../../cgroup2/layout.ts'
import { pidsIn, untilEmpty } from '../../cgroup2/population.ts'
import type { ContainerExit } from '../runtime.ts'
import type { ExitFiles } from './exits.ts'
import { findMonitor } from './monitor.ts'
import { isSameProcess, type ProcessFacts } from './process-table.ts'

interface Parts {
  readonly layout: CgroupLayout
  readonly exits: ExitFiles
  /** What the exit file says, with what the cgroup tells beside it; undefined where there is none. */
  readonly exitOf: (containerId: string) => ContainerExit | undefined
  sleep(ms: number, signal: AbortSignal): Promise<void>
}

interface Config {
  readonly runDir: string
  readonly cgroupParent: string
}

interface Watched {
  monitor: ProcessFacts | undefined
  readonly settle: (exit: ContainerExit) => void
  readonly over: AbortSignal
  readonly unwatched: (() => void) | undefined
}

/** How often the monitor of a running container is looked at: only a conmon that was killed needs it. */
const monitorCheckMs = 2_000

const unseenEnd = 'the container ended while nothing watched it: its monitor was killed, or had no room to write the exit code'

/**
 * Waits for the ends of containers: by the exit file that the monitor writes, and where the monitor is gone by the cgroup, which
 * becomes empty when the last process has ended. A monitor writes the exit before it ends, so one that is gone without an exit
 * file will never write one.
 */
export class ExitWatch {
  readonly #parts: Parts
  readonly #config: Config
  readonly #watched = new Map<string, Watched>()
  readonly #stopping = new AbortController()
  #sweeping: Promise<void> | undefined

  constructor(parts: Parts, config: Config) {
    this.#parts = parts
    this.#config = config
  }

  start(): void {
    this.#parts.exits.start()
    this.#sweeping = this.#sweep(this.#stopping.signal)
  }

  async stop(): Promise<void> {
    this.#parts.exits.stop()
    this.#stopping.abort()
    await this.#sweeping
  }

  wait(containerId: string, signal: AbortSignal, unwatched: (() => void) | undefined): Promise<ContainerExit> {
    const over = new AbortController()
    const waited = new Promise<ContainerExit>((resolve, reject) => {
      const stop = (): void => reject(signal.reason as Error)
      signal.addEventListener('abort', stop, { once: true })
      over.signal.addEventListener('abort', () => signal.removeEventListener('abort', stop), { once: true })
      const watched = { monitor: undefined, settle: resolve, over: over.signal, unwatched }
      const look = (): void => {
        const exit = this.#parts.exitOf(containerId)
        if (exit !== undefined) resolve(exit)
      }
      const unwatch = this.#parts.exits.watch(containerId, look)
      over.signal.addEventListener('abort', unwatch, { once: true })
      this.#watched.set(containerId, watched)
      if (signal.aborted) stop()
      else {
        look()
        this.#check(containerId, watched)
      }
    })
    return waited.finally(() => {
      over.abort()
      this.#watched.delete(containerId)
    })
  }

  /** One look at all monitors every so often. */
  async #sweep(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#parts.sleep(monitorCheckMs, signal).catch(() => undefined) // stopping
      for (const [containerId, watched] of this.#watched) this.#check(containerId, watched)
    }
  }

  #check(containerId: string, watched: Watched): void {
    const { monitor } = watched
    if (monitor !== undefined && isSameProcess(monitor.pid, monitor.startTicks)) return
    watched.monitor = findMonitor(join(this.#config.runDir, 'c', containerId), containerId)
    if (watched.monitor !== undefined) return
    this.#watched.delete(containerId)
    this.#waitUntilEmpty(containerId, watched).catch((e: unknown) => {
      if (!watched.over.aborted && !this.#stopping.signal.aborted) throw e
    })
  }

  async #waitUntilEmpty(containerId: string, watched: Watched): Promise<void> {
    const path = join(this.#config.cgroupParent, containerId)
    if (this.#parts.exitOf(containerId) === undefined && pidsIn(this.#parts.layout, path).length > 0) watched.unwatched?.()
    await untilEmpty(this.#parts, path, monitorCheckMs, AbortSignal.any([watched.over, this.#stopping.signal]))
    watched.settle(this.#parts.exitOf(containerId) ?? { kind: 'lost', why: unseenEnd })
  }
}
