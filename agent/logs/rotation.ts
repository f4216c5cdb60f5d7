import { type FSWatcher, watch } from 'node:fs'
import { stat } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import type { Clock } from '../../base/clock.ts'
import type { Log } from '../../base/log.ts'
import type { Service } from '../../base/service.ts'
import { RotatedFiles, type RotatedLog } from './rotated-files.ts'

export interface LogRotationParts {
  readonly clock: Clock
  readonly log: Log
}

export const logBudgetDefaults = { fileBytes: 10 * 1024 * 1024, files: 5 } as const

/** What conmon may write to one file while no agent rotates: `logMaxBytes` of a launch. */
export const unattendedLogBytes = (budget: { readonly fileBytes: number; readonly files: number }): number =>
  Math.max(50 * 1024 * 1024, budget.fileBytes * budget.files)

/** Smaller files would be rotated without end. */
const leastFileBytes = 64 * 1024
const firstCheckMs = 100
const leastCheckMs = 25
const mostCheckMs = 1_000

interface Guard {
  readonly files: RotatedFiles
  readonly stop: AbortController
  readonly loop: Promise<void>
}

/**
 * Keeps the logs of running containers within their budget. A log that nobody writes costs a watch and nothing else; one that
 * grows is looked at when it may be half-way to its limit.
 */
export class LogRotation implements Service {
  readonly name = 'log-rotation'
  readonly #parts: LogRotationParts
  readonly #guards = new Map<string, Guard>()

  constructor(parts: LogRotationParts) {
    this.#parts = parts
  }

  async start(): Promise<void> {}

  /** Begins or, after the agent's restart, goes on. A log that is watched already is left as it is. */
  watch(asked: RotatedLog): void {
    if (this.#guards.has(asked.path)) return
    const stop = new AbortController()
    const rotated = {
      ...asked,
      fileBytes: asked.fileBytes > 0 ? Math.max(leastFileBytes, asked.fileBytes) : logBudgetDefaults.fileBytes,
      files: asked.files > 0 ? asked.files : logBudgetDefaults.files
    }
    const files = new RotatedFiles(rotated, this.#parts.clock)
    this.#guards.set(rotated.path, { files, stop, loop: this.#keep(files, rotated, stop.signal) })
  }

  /** To be called once the container has ended. */
  async unwatch(path: string): Promise<void> {
    const guard = this.#guards.get(path)
    if (guard === undefined) return
    await this.#end(path, guard)
    try {
      guard.files.finish()
    } catch (e) {
      this.#parts.log.warn({ error: e, path }, 'log.rotation_failed')
    }
  }

  /** Leaves the logs of running containers as they are, for the agent that comes next. */
  async stop(): Promise<void> {
    await Promise.all([...this.#guards].map(([path, guard]) => this.#end(path, guard)))
  }

  async #end(path: string, guard: Guard): Promise<void> {
    this.#guards.delete(path)
    guard.stop.abort()
    await guard.loop
  }

  async #keep(files: RotatedFiles, rotated: RotatedLog, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#parts
    const pace = new Pace(rotated.fileBytes)
    let failing = false
    while (!signal.aborted) {
      try {
        const bytes = files.settle()
        failing = false
        const waitMs = pace.next(bytes, clock.monotonicMs())
        if (waitMs !== undefined) await clock.sleep(waitMs, signal)
        else await growth(rotated.path, bytes, signal)
      } catch (e) {
        if (signal.aborted) return
        if (!failing) log.warn({ error: e, path: rotated.path }, 'log.rotation_failed')
        failing = true
        await clock.sleep(mostCheckMs, signal).catch(() => undefined)
      }
    }
  }
}

/** When to look again, from how fast the log grew; undefined: when it grows at all. */
class Pace {
  readonly #fileBytes: number
  #bytes: number | undefined
  #atMs = 0
  #idle = false

  constructor(fileBytes: number) {
    this.#fileBytes = fileBytes
  }

  next(bytes: number | undefined, nowMs: number): number | undefined {
    const before = this.#bytes
    const elapsedMs = Math.max(1, nowMs - this.#atMs)
    this.#bytes = bytes
    this.#atMs = nowMs
    if (bytes !== undefined && before === bytes && !this.#idle) {
      this.#idle = true
      return undefined
    }
    // How fast it grows is not known yet: it is new, or was idle until now.
    const unknown = bytes === undefined || before === undefined || bytes <= before || this.#idle
    this.#idle = false
    if (unknown) return firstCheckMs
    const fillMs = ((this.#fileBytes - bytes) * elapsedMs) / (bytes - before)
    return Math.min(mostCheckMs, Math.max(leastCheckMs, fillMs / 2))
  }
}

/** Resolves when the file is no longer `bytes` long, or the signal aborts. */
async function growth(path: string, bytes: number | undefined, signal: AbortSignal): Promise<void> {
  let watcher: FSWatcher | undefined
  let stop = (): void => undefined
  const name = basename(path)
  try {
    await new Promise<void>((resolve, reject) => {
      stop = resolve
      signal.addEventListener('abort', stop)
      watcher = watch(dirname(path), { persistent: false }, (_, changed) => {
        if (changed === null || changed === name) resolve()
      }).on('error', reject)
      void stat(path).then(({ size }) => {
        if (size !== bytes) resolve()
      }, reject)
    })
  } finally {
    signal.removeEventListener('abort', stop)
    watcher?.close()
  }
}
