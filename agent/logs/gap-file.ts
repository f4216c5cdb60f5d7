import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { errnoOf } from '../../base/fault.ts'
import { type GapCause, type LogGap, sameGap } from './gap.ts'

export const gapsName = (path: string): string => `${path}.gaps`

/** Beyond this the newest gap takes in the ones before it. */
const mostGaps = 64
const maxFileBytes = 64 * 1024

/** The gaps of one log, beside it, as lines of JSON. What the full disk has no room for waits in memory for the next look. */
export class GapFile {
  readonly #path: string
  #gaps: LogGap[] | undefined
  #unwritten = false

  constructor(logPath: string) {
    this.#path = gapsName(logPath)
  }

  /** False where this gap is known already: each step of a look may be repeated. */
  add(gap: LogGap): boolean {
    this.#gaps ??= [...readGaps(this.#path)]
    if (this.#gaps.some((known) => sameGap(known, gap))) return false
    this.#gaps.push(gap)
    if (this.#gaps.length > mostGaps)
      this.#gaps.splice(0, 2, { ...(this.#gaps[1] as LogGap), fromMs: this.#gaps[0]?.fromMs ?? 0 })
    this.#unwritten = true
    this.flush()
    return true
  }

  /** Writes what could not be written before. */
  flush(): void {
    if (!this.#unwritten) return
    try {
      const draft = `${this.#path}.draft`
      writeFileSync(draft, (this.#gaps ?? []).map((gap) => `${JSON.stringify(gap)}\n`).join(''), { mode: 0o600 })
      renameSync(draft, this.#path)
      this.#unwritten = false
    } catch (e) {
      if (errnoOf(e) !== 'ENOSPC' && errnoOf(e) !== 'EDQUOT' && errnoOf(e) !== 'ENOENT') throw e
    }
  }
}

/** Lines that are none of ours are left out: any byte of a task's files may be wrong. */
export function readGaps(path: string): readonly LogGap[] {
  let text: string
  try {
    text = readFileSync(path, 'utf8').slice(0, maxFileBytes)
  } catch {
    return [] // nothing was ever lost
  }
  return text.split('\n').flatMap((line) => {
    const gap = parseGap(line)
    return gap === undefined ? [] : [gap]
  })
}

const causes: ReadonlySet<unknown> = new Set<GapCause>(['disk_full', 'unattended_bound', 'rotated_away', 'damaged'])

function parseGap(line: string): LogGap | undefined {
  try {
    const { cause, fromMs, toMs, torn } = JSON.parse(line) as Partial<LogGap>
    const isTime = (ms: unknown): ms is number => typeof ms === 'number' && Number.isFinite(ms)
    if (!causes.has(cause) || !isTime(fromMs) || !isTime(toMs)) return undefined
    return { cause: cause as GapCause, fromMs, toMs, ...(torn === true ? { torn } : {}) }
  } catch {
    return undefined
  }
}
