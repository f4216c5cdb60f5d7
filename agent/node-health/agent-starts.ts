import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../../base/clock.ts'
import { errnoOf } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import type { Service } from '../../base/service.ts'

interface Parts {
  readonly clock: Clock
  readonly log: Log
}

interface Config {
  readonly runDir: string
  readonly bootId: string
}

const kept = 64

/**
 * Remembers when agents of this state directory started in this boot. The file is written once a start and beside it: what
 * cannot be read or written costs the history, never the start. It needs no sync: it means nothing after a power cut.
 */
export class AgentStarts implements Service {
  readonly name = 'agent-starts'
  readonly #parts: Parts
  readonly #config: Config
  #startsMs: readonly number[]
  #noted: Promise<void> = Promise.resolve()

  constructor(parts: Parts, config: Config) {
    this.#parts = parts
    this.#config = config
    this.#startsMs = [Math.round(parts.clock.wallMs())]
  }

  /** In ms since 1970, this agent's own last. */
  get allMs(): readonly number[] {
    return this.#startsMs
  }

  async start(): Promise<void> {
    this.#noted = this.#note()
  }

  stop(): Promise<void> {
    return this.#noted
  }

  async #note(): Promise<void> {
    const { runDir, bootId } = this.#config
    const path = join(runDir, 'agent-starts.json')
    const before = parseStarts(await readFile(path, 'utf8').catch(() => ''), bootId)
    this.#startsMs = [...before, ...this.#startsMs].slice(-kept)
    try {
      await writeFile(`${path}.draft`, `${JSON.stringify({ bootId, startsMs: this.#startsMs })}\n`, { mode: 0o600 })
      await rename(`${path}.draft`, path)
    } catch (e) {
      if (errnoOf(e) === undefined) throw e
      this.#parts.log.warn({ path, errno: errnoOf(e) }, 'agent.start_not_noted')
    }
  }
}

/** Those of another boot, and any bytes that are not ours, count for nothing. */
export function parseStarts(text: string, bootId: string): readonly number[] {
  try {
    const file = JSON.parse(text) as { readonly bootId?: unknown; readonly startsMs?: unknown } | null
    if (file?.bootId !== bootId || !Array.isArray(file.startsMs)) return []
    return file.startsMs.filter((at): at is number => Number.isSafeInteger(at) && at > 0).slice(-kept)
  } catch {
    return [] // nobody depends on it
  }
}
