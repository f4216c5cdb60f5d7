import { closeSync, existsSync, type FSWatcher, openSync, readSync, statSync, watch } from 'node:fs'
import { stat } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import type { Clock } from '../../base/clock.ts'
import { isFault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import type { Service } from '../../base/service.ts'
import type { GapCause, LogGap } from './gap.ts'
import { GapFile } from './gap-file.ts'
import { heldName, listGenerations } from './generations.ts'
import { RotatedFiles, type RotatedLog, type Settled } from './rotated-files.ts'
import { isDiskFull, SilentLoss } from './silent-loss.ts'
import { TearSearch } from './tear-search.ts'

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
const leastAgeMs = 1_000
const firstCheckMs = 100
const leastCheckMs = 25
const mostCheckMs = 1_000
const diskCheckMs = 1_000
/** Between the tries to put the names of an ended log in order. */
const finishPausesMs = [50, 500] as const
/** The longest that a timer may be set to. */
const longestWaitMs = 2 ** 31 - 1

interface Guard {
  readonly path: string
  readonly files: RotatedFiles
  readonly gaps: GapFile
  readonly tears: TearSearch
  readonly silent: SilentLoss
  readonly stop: AbortController
  loop: Promise<void>
  last: Settled | undefined
}

/**
 * Keeps the logs of running containers within their budget, and makes known what a full disk or conmon's own limit lost of them.
 * A log that nobody writes costs a watch and nothing else; one that grows is looked at when it may be half-way to its limit.
 */
export class LogRotation implements Service {
  readonly name = 'log-rotation'
  readonly #parts: LogRotationParts
  readonly #guards = new Map<string, Guard>()
  readonly #stop = new AbortController()
  readonly #gapsFound = new Map<GapCause, number>()
  #searches: Promise<void> = Promise.resolve()
  #diskLoop: Promise<void> | undefined
  #diskFull = false

  constructor(parts: LogRotationParts) {
    this.#parts = parts
  }

  async start(): Promise<void> {}

  /** Gaps found by this agent since it began, by cause: the metric `hearth_log_gaps_total`. */
  get gapsFound(): ReadonlyMap<GapCause, number> {
    return this.#gapsFound
  }

  /** Begins or, after the agent's restart, goes on. A log that is watched already is left as it is. */
  watch(asked: RotatedLog): void {
    if (this.#guards.has(asked.path)) return
    const { clock } = this.#parts
    const rotated = {
      ...asked,
      fileBytes: asked.fileBytes > 0 ? Math.max(leastFileBytes, asked.fileBytes) : logBudgetDefaults.fileBytes,
      files: asked.files > 0 ? asked.files : logBudgetDefaults.files,
      maxAgeMs: asked.maxAgeMs === undefined || asked.maxAgeMs <= 0 ? 0 : Math.max(leastAgeMs, asked.maxAgeMs)
    }
    const { path } = rotated
    const gaps = new GapFile(path)
    const onGap = (gap: LogGap): void => this.#found(path, gaps, gap)
    const guard: Guard = {
      path,
      gaps,
      files: new RotatedFiles(rotated, clock, onGap),
      tears: new TearSearch(path, clock, onGap),
      silent: new SilentLoss(rotated.controlPath),
      stop: new AbortController(),
      loop: Promise.resolve(),
      last: undefined
    }
    this.#guards.set(path, guard)
    if (this.#stop.signal.aborted) return
    this.#searchOlder(guard)
    guard.loop = this.#keep(guard, rotated)
    this.#diskLoop ??= this.#watchDisk()
  }

  /** To be called once the container has ended, also after `stop`: a launch on its way may bring one that ends at once. */
  async unwatch(path: string): Promise<void> {
    const guard = this.#guards.get(path)
    if (guard === undefined) return
    this.#guards.delete(path)
    await this.#end(guard)
    await this.#finish(guard)
    const { last } = guard
    if (last !== undefined && last.bytes > 0) this.#search(guard, async (signal) => guard.tears.search(last.inode, true, signal))
  }

  /** Leaves the logs of running containers as they are, for the agent that comes next. */
  async stop(): Promise<void> {
    this.#stop.abort()
    await Promise.all([...this.#guards.values()].map((guard) => this.#end(guard)))
    await this.#diskLoop
    await this.#searches
  }

  /** Nobody comes by later: a disk that refuses is asked again. */
  async #finish(guard: Guard): Promise<void> {
    const { clock, log } = this.#parts
    for (const pauseMs of [...finishPausesMs, undefined]) {
      try {
        guard.files.finish()
        guard.gaps.flush()
        return
      } catch (error) {
        log.warn({ error, path: guard.path }, 'log.rotation_failed')
        if (pauseMs === undefined) return
        await clock.sleep(pauseMs, this.#stop.signal).catch(() => undefined) // stopping: at once then
      }
    }
  }

  async #end(guard: Guard): Promise<void> {
    guard.stop.abort()
    await guard.loop
  }

  #found(path: string, gaps: GapFile, gap: LogGap): void {
    if (!gaps.add(gap)) return
    this.#gapsFound.set(gap.cause, (this.#gapsFound.get(gap.cause) ?? 0) + 1)
    this.#parts.log.warn({ path, cause: gap.cause, fromMs: gap.fromMs, toMs: gap.toMs }, 'log.output_lost')
  }

  async #keep(guard: Guard, rotated: RotatedLog): Promise<void> {
    const { clock, log } = this.#parts
    const { signal } = guard.stop
    const pace = new Pace(rotated.fileBytes)
    let failing = false
    while (!signal.aborted) {
      try {
        const settled = guard.files.settle()
        this.#settled(guard, settled)
        failing = false
        const ageLeftMs = Math.min(longestWaitMs, Math.max(leastCheckMs, settled?.ageLeftMs ?? Number.POSITIVE_INFINITY))
        const waitMs = pace.next(settled?.bytes, clock.monotonicMs())
        if (waitMs !== undefined) await clock.sleep(Math.min(waitMs, ageLeftMs), signal)
        else await growth(rotated.path, settled?.bytes, ageLeftMs, signal)
      } catch (e) {
        if (signal.aborted) return
        if (!failing) log.warn({ error: e, path: rotated.path }, 'log.rotation_failed')
        failing = true
        await clock.sleep(mostCheckMs, signal).catch(() => undefined)
      }
    }
  }

  /** A file that was put away is searched once, whole. */
  #settled(guard: Guard, settled: Settled | undefined): void {
    const before = guard.last
    guard.last = settled ?? before
    guard.gaps.flush()
    if (before === undefined || settled === undefined || before.inode === settled.inode) return
    this.#search(guard, (signal) => guard.tears.search(before.inode, true, signal))
  }

  /** What the agent before may not have searched. A log that has just begun has nothing older. */
  #searchOlder(guard: Guard): void {
    if (!existsSync(heldName(guard.path))) return
    this.#search(guard, async (signal) => {
      const [current, ...older] = await listGenerations(guard.path)
      for (const { inode } of older) await guard.tears.search(inode, true, signal)
      if (current !== undefined && current.bytes > 0) await guard.tears.search(current.inode, false, signal)
    })
  }

  /** One search at a time: they are for the record and never urgent. */
  #search(guard: Guard, search: (signal: AbortSignal) => Promise<void>): void {
    const { signal } = this.#stop
    this.#searches = this.#searches.then(async () => {
      if (signal.aborted) return
      try {
        await search(signal)
      } catch (error) {
        // Nothing depends on it but the record of a gap, and a reader finds the torn record itself.
        if (!signal.aborted && !isFault(error)) this.#parts.log.debug({ error, path: guard.path }, 'log.search_failed')
      }
    })
  }

  /** Goes on for as long as any log is written. */
  async #watchDisk(): Promise<void> {
    const { clock } = this.#parts
    for (;;) {
      const [first] = this.#guards.values()
      if (first === undefined || this.#stop.signal.aborted) break
      const full = isDiskFull(dirname(first.path))
      if (full || this.#diskFull) for (const guard of this.#guards.values()) this.#lookWhileFull(guard, full)
      this.#diskFull = full
      await clock.sleep(diskCheckMs, this.#stop.signal).catch(() => undefined) // stopping
    }
    this.#diskLoop = undefined
  }

  #lookWhileFull(guard: Guard, full: boolean): void {
    const { last } = guard
    if (last === undefined) return
    this.#search(guard, (signal) => guard.tears.search(last.inode, false, signal))
    if (!full) {
      guard.silent.reset()
      return
    }
    const facts = statSync(guard.path, { throwIfNoEntry: false })
    if (facts === undefined || !guard.silent.look({ inode: facts.ino, bytes: facts.size })) return
    if (isCutAtEnd(guard.path, facts.size)) return // tear.ts sees this one
    this.#found(guard.path, guard.gaps, { cause: 'disk_full', fromMs: Math.round(facts.mtimeMs), toMs: 0 })
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

/** Resolves when the file is no longer `bytes` long, after `mostMs`, or when the signal aborts. */
async function growth(path: string, bytes: number | undefined, mostMs: number, signal: AbortSignal): Promise<void> {
  let watcher: FSWatcher | undefined
  let stop = (): void => undefined
  let timer: NodeJS.Timeout | undefined
  const name = basename(path)
  try {
    await new Promise<void>((resolve, reject) => {
      stop = resolve
      signal.addEventListener('abort', stop)
      if (mostMs < longestWaitMs) timer = setTimeout(resolve, mostMs)
      watcher = watch(dirname(path), { persistent: false }, (_, changed) => {
        if (changed === null || changed === name) resolve()
      }).on('error', reject)
      void stat(path).then(({ size }) => {
        if (size !== bytes) resolve()
      }, reject)
    })
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', stop)
    watcher?.close()
  }
}

/** Whether the last record lacks its newline. */
function isCutAtEnd(path: string, bytes: number): boolean {
  if (bytes === 0) return false
  const file = openSync(path, 'r')
  try {
    const last = Buffer.alloc(1)
    return readSync(file, last, 0, 1, bytes - 1) === 1 && last[0] !== 0x0a
  } finally {
    closeSync(file)
  }
}
