import { type FSWatcher, mkdirSync, watch, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { errnoOf, isFault } from '../../../base/fault.ts'
import type { Engine } from './engine.ts'
import { LogFile } from './log-file.ts'
import { RecordParser, sinceOf } from './log-records.ts'

interface Parts {
  readonly engine: () => Promise<Engine>
  sleep(ms: number, signal: AbortSignal): Promise<void>
}

interface Places {
  readonly logPath: string
  /** What asks for a new file writes there (agent/logs/rotated-files.ts). */
  readonly controlPath: string
}

const againMs = 500

/**
 * Copies what Docker keeps of one container's output into its log. Docker holds it while no agent lives; how far an earlier agent
 * came stands in the log itself, so that nothing is lost or doubled whenever it died.
 */
export class LogCopy {
  readonly #parts: Parts
  readonly #name: string
  readonly #places: Places
  readonly #file: LogFile
  readonly #stop = new AbortController()
  #watcher: FSWatcher | undefined
  #isNextAsked = false
  #following: Promise<void> = Promise.resolve()

  constructor(parts: Parts, name: string, places: Places) {
    this.#parts = parts
    this.#name = name
    this.#places = places
    this.#file = new LogFile(places.logPath)
  }

  start(): void {
    const { controlPath, logPath } = this.#places
    mkdirSync(dirname(logPath), { recursive: true, mode: 0o711 })
    mkdirSync(dirname(controlPath), { recursive: true, mode: 0o711 })
    writeFileSync(controlPath, '')
    this.#watcher = watch(controlPath, { persistent: false }, () => {
      this.#isNextAsked = true
    }).on('error', () => undefined) // the bundle goes with its container
    this.#file.open()
    this.#following = this.#follow()
  }

  /** Resolves when all of an ended container is copied. */
  async complete(): Promise<void> {
    this.#stop.abort()
    await this.#following
    this.#watcher?.close()
    await this.#copy(false, new AbortController().signal)
    this.#file.close()
  }

  /** Leaves the rest to the next agent. */
  async stop(): Promise<void> {
    this.#stop.abort()
    this.#watcher?.close()
    await this.#following
    this.#file.close()
  }

  async #follow(): Promise<void> {
    const { signal } = this.#stop
    while (!signal.aborted) {
      await this.#copy(true, signal).catch((e: unknown) => {
        if (!signal.aborted && !isFault(e) && errnoOf(e) === undefined) throw e
      })
      await this.#parts.sleep(againMs, signal).catch(() => undefined) // stopping
    }
  }

  async #copy(follow: boolean, signal: AbortSignal): Promise<void> {
    const engine = await this.#parts.engine()
    const container = await engine.inspect(this.#name)
    if (container === undefined || signal.aborted) return
    const cursor = this.#file.open()
    const parser = new RecordParser(container.terminal)
    let left: number | undefined
    for await (const bytes of await engine.logs(this.#name, sinceOf(cursor), follow, signal)) {
      const records = parser.push(bytes)
      // What Docker has thrown away meanwhile, because it became too much, cannot be left out once more.
      left ??= records[0] === undefined ? undefined : records[0].time > cursor.time ? 0 : cursor.written
      if (left === undefined) continue
      const fresh: typeof records = records.slice(left)
      left -= records.length - fresh.length
      if (fresh.length > 0) await this.#write(Buffer.concat(fresh.map(({ line }) => line)), signal)
      if (signal.aborted) return
    }
  }

  /** A full disk is waited for: Docker keeps the rest. */
  async #write(bytes: Buffer, signal: AbortSignal): Promise<void> {
    for (;;) {
      try {
        if (this.#isNextAsked) this.#next()
        return this.#file.append(bytes)
      } catch (e) {
        if (errnoOf(e) === undefined) throw e
        await this.#parts.sleep(againMs, signal)
      }
    }
  }

  #next(): void {
    this.#isNextAsked = false
    this.#file.next()
  }
}
