import { type Rate, TokenBucket } from './token-bucket.ts'

export interface AbsenceRules {
  /** What agents that the leader knows from the log get to come back after its start. */
  readonly returnMs: number
  /** As long as they keep coming it waits on, by no more than this factor. */
  readonly returnFactor: number
  /** How long an agent may be unreachable before its tasks are given up; 0: for ever. */
  readonly goneAfterMs: number
  readonly unreachable: Rate
  readonly gone: Rate
}

export const absenceDefaults = {
  returnFactor: 4,
  unreachable: { burst: 256, perSecond: 64 },
  gone: { burst: 10, perSecond: 1 }
} as const

export type Verdict = { readonly kind: 'unreachable' | 'gone'; readonly agentId: string; readonly silentMs: number }

interface Absence {
  readonly sinceMs: number
  readonly kind: Verdict['kind']
  dueMs: number
  /** Known from the log alone: it may be on its way here. */
  readonly isExpected: boolean
}

/** Agents that stop coming for so many parts of the time to return are not awaited any longer. */
const quietParts = 5

/**
 * Which agents are away, and which of them are to be judged now: no more at a time than the rates allow, and after a change of the
 * leader none while those it knows still come back. Pure; times are of one clock that never goes backwards, in milliseconds.
 */
export class AbsenceBook {
  readonly #rules: AbsenceRules
  readonly #away = new Map<string, Absence>()
  readonly #unreachable: TokenBucket
  readonly #gone: TokenBucket
  readonly #startedMs: number
  #cameMs: number
  /** Of the last look: due, and not judged for want of a token. */
  #putOff = 0

  constructor(rules: AbsenceRules, nowMs: number) {
    this.#rules = rules
    this.#startedMs = nowMs
    this.#cameMs = nowMs
    this.#unreachable = new TokenBucket(rules.unreachable, nowMs)
    this.#gone = new TokenBucket(rules.gone, nowMs)
  }

  get putOff(): number {
    return this.#putOff
  }

  /** The log knows it, and this leader has not met it. */
  expect(agentId: string): void {
    const sinceMs = this.#startedMs
    this.#away.set(agentId, { sinceMs, kind: 'unreachable', dueMs: sinceMs + this.#rules.returnMs, isExpected: true })
  }

  left(agentId: string, nowMs: number, withinMs: number): void {
    this.#away.set(agentId, { sinceMs: nowMs, kind: 'unreachable', dueMs: nowMs + withinMs, isExpected: false })
  }

  /** It is here, or at the door. */
  came(agentId: string, nowMs: number): void {
    if (this.#away.delete(agentId)) this.#cameMs = nowMs
  }

  /** It is unreachable by now: what comes next is that it is given up. */
  unreachable(agentId: string, nowMs: number): void {
    const { goneAfterMs } = this.#rules
    if (goneAfterMs <= 0) return
    this.#away.set(agentId, { sinceMs: nowMs, kind: 'gone', dueMs: nowMs + goneAfterMs, isExpected: false })
  }

  /** A verdict that could not be carried out, to be given again. */
  again({ agentId, kind, silentMs }: Verdict, nowMs: number, afterMs: number): void {
    if (this.#away.has(agentId)) return
    this.#away.set(agentId, { sinceMs: nowMs - silentMs, kind, dueMs: nowMs + afterMs, isExpected: false })
  }

  /** Those whose time is over, each told once. `most`: how many can be carried out now. */
  judge(nowMs: number, most: number): readonly Verdict[] {
    const verdicts: Verdict[] = []
    this.#putOff = 0
    const isWaiting = this.#isWaiting(nowMs)
    for (const [agentId, { kind, dueMs, sinceMs, isExpected }] of this.#away) {
      if (dueMs > nowMs || (isExpected && isWaiting)) continue
      const bucket = kind === 'gone' ? this.#gone : this.#unreachable
      if (verdicts.length >= most || !bucket.take(nowMs)) {
        this.#putOff += 1
        continue
      }
      this.#away.delete(agentId)
      verdicts.push({ kind, agentId, silentMs: nowMs - sinceMs })
    }
    return verdicts
  }

  /** Those it knows come back still. */
  #isWaiting(nowMs: number): boolean {
    const { returnMs, returnFactor } = this.#rules
    return nowMs < this.#startedMs + returnMs * returnFactor && nowMs < this.#cameMs + returnMs / quietParts
  }
}
