import { mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../../base/clock.ts'
import { errnoOf } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import { replaceFile } from '../../base/replace-file.ts'
import type { Service } from '../../base/service.ts'
import { isContainerId } from '../../proto/ids.ts'
import { aboutName, type KeptLog, overdue, parseKept } from './kept-log.ts'
import { RemovedLogs } from './removed-logs.ts'

interface Parts {
  readonly clock: Clock
  readonly log: Log
}

export interface KeptLogsConfig {
  readonly directory: string
  /** After the removal of the task; 0: nothing is kept. */
  readonly keepMs: number
  /** Of all kept logs together. */
  readonly maxBytes: number
}

type KeptContainer = Omit<KeptLog, 'removedAtMs' | 'bytes'>

/** More than these are not kept, however small they are. */
const mostLogs = 1_000
const longestPauseMs = 3_600_000
const retryMs = 60_000

/**
 * Logs of tasks that were removed: a folder for each container, moved here as a whole with what is needed to find it again.
 * The oldest go first. Between two removals nothing is done and nothing written.
 */
export class KeptLogs implements Service {
  readonly name = 'kept-logs'
  readonly #parts: Parts
  readonly #config: KeptLogsConfig
  readonly #removed: RemovedLogs
  readonly #kept = new Map<string, KeptLog>()
  readonly #moving = new Set<Promise<boolean>>()
  readonly #stop = new AbortController()
  #read: Promise<void> | undefined
  #loop: Promise<void> | undefined
  #wake = new AbortController()

  constructor(parts: Parts, config: KeptLogsConfig) {
    this.#parts = parts
    this.#config = config
    this.#removed = new RemovedLogs(config)
  }

  async start(): Promise<void> {
    this.#loop = this.#removeInTime()
  }

  async stop(): Promise<void> {
    this.#stop.abort()
    this.#wake.abort()
    await this.#loop
  }

  /** Directory of a kept log. */
  folderOf(log: Pick<KeptLog, 'containerId'>): string {
    return join(this.#config.directory, log.containerId)
  }

  /**
   * Takes the log out of the sandbox of a task that is removed; the rest of the sandbox goes. False where there is nothing to
   * keep, or it cannot be kept: the sandbox is then still there. Repeatable.
   */
  async keep(sandboxDir: string, about: KeptContainer): Promise<boolean> {
    if (this.#config.keepMs === 0) return false
    const moving = this.#move(sandboxDir, about)
    this.#moving.add(moving)
    try {
      return await moving
    } finally {
      this.#moving.delete(moving)
    }
  }

  async #move(sandboxDir: string, about: KeptContainer): Promise<boolean> {
    const to = this.folderOf(about)
    try {
      const names = await readdir(sandboxDir)
      if (!names.some(isLog)) return false
      let bytes = 0
      for (const name of names) {
        if (isLog(name)) bytes += (await stat(join(sandboxDir, name))).size
        else await rm(join(sandboxDir, name), { recursive: true, force: true })
      }
      const kept: KeptLog = { ...about, removedAtMs: Math.round(this.#parts.clock.wallMs()), bytes }
      await replaceFile(join(sandboxDir, aboutName), `${JSON.stringify(kept)}\n`)
      await mkdir(this.#config.directory, { recursive: true, mode: 0o700 })
      await rename(sandboxDir, to)
      this.#kept.set(kept.containerId, kept)
      this.#wake.abort()
      return true
    } catch (e) {
      if (errnoOf(e) === undefined) throw e
      // A removal that the agent did not live to finish: it is there already, and the next look reads it.
      if (errnoOf(e) === 'ENOENT' && (await isThere(join(to, aboutName)))) return true
      this.#parts.log.warn({ containerId: about.containerId, error: e }, 'log.not_kept')
      return false
    }
  }

  /** Of that attempt, or the newest; of several tasks of that id the one that was removed last. */
  async find(frameworkId: string, taskId: string, attempt?: number): Promise<KeptLog | undefined> {
    await Promise.all([this.#known(), ...this.#moving])
    return [...this.#kept.values()]
      .filter((log) => log.frameworkId === frameworkId && log.taskId === taskId)
      .filter((log) => attempt === undefined || log.attempt === attempt)
      .sort((a, b) => b.removedAtMs - a.removedAtMs || b.attempt - a.attempt)[0]
  }

  /** What became of them; undefined where nothing is known of such a task. */
  whyGone(frameworkId: string, taskId: string): Promise<string | undefined> {
    return this.#removed.why(frameworkId, taskId)
  }

  async #removeInTime(): Promise<void> {
    const { clock, log } = this.#parts
    while (!this.#stop.signal.aborted) {
      let pauseMs: number | undefined
      this.#wake = new AbortController()
      try {
        await this.#known()
        await this.#removeDue()
        const [oldest] = this.#oldestFirst()
        if (oldest !== undefined) pauseMs = Math.max(0, oldest.removedAtMs + this.#config.keepMs - clock.wallMs())
      } catch (error) {
        if (errnoOf(error) === undefined) throw error
        log.warn({ error }, 'log.not_removed')
        pauseMs = retryMs
      }
      if (this.#stop.signal.aborted) return
      await clock.sleep(Math.min(pauseMs ?? longestPauseMs, longestPauseMs), this.#wake.signal).catch(() => undefined) // one more to keep
    }
  }

  async #removeDue(): Promise<void> {
    const due = overdue(this.#oldestFirst(), { ...this.#config, mostLogs, nowMs: this.#parts.clock.wallMs() })
    if (due.length === 0) return
    // Told first: a log that is still there is found before what is said of its end.
    await this.#removed.add(due.map(({ log, why }) => ({ ...log, why, goneAtMs: Math.round(this.#parts.clock.wallMs()) })))
    for (const { log, why } of due) {
      await rm(this.folderOf(log), { recursive: true, force: true })
      this.#kept.delete(log.containerId)
      const { containerId, taskId, bytes } = log
      this.#parts.log.info({ containerId, taskId, bytes, why }, 'log.removed')
    }
  }

  #oldestFirst(): readonly KeptLog[] {
    return [...this.#kept.values()].sort((a, b) => a.removedAtMs - b.removedAtMs)
  }

  #known(): Promise<void> {
    this.#read ??= this.#readAll().catch((e: unknown) => {
      this.#read = undefined
      throw e
    })
    return this.#read
  }

  async #readAll(): Promise<void> {
    const names = await readdir(this.#config.directory).catch((e: unknown) => {
      if (errnoOf(e) === 'ENOENT') return [] // nothing was ever kept
      throw e
    })
    for (const containerId of names.filter(isContainerId)) {
      const folder = this.folderOf({ containerId })
      const text = await readFile(join(folder, aboutName), 'utf8').catch(() => '') // it then goes by its age
      const modified = await stat(folder).catch(() => undefined) // gone meanwhile
      if (modified === undefined) continue
      this.#kept.set(containerId, parseKept(text, containerId) ?? nameless(containerId, modified.mtimeMs))
    }
  }
}

const nameless = (containerId: string, removedAtMs: number): KeptLog => ({
  ...{ containerId, frameworkId: '', taskId: '', attempt: 0 },
  ...{ removedAtMs: Math.round(removedAtMs), bytes: 0 }
})

/** Its files, whatever name rotation has given them, and the gaps that are known. */
const isLog = (name: string): boolean => name === 'log' || name.startsWith('log.')

const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false
  )
