import type { Clock } from '../../base/clock.ts'
import type { Log } from '../../base/log.ts'
import type { Random } from '../../base/random.ts'
import type { Service } from '../../base/service.ts'
import { inOrderOfWeight, refusalOf, type Work } from './danger.ts'
import { type HealthMemory, hasDoubts, settle, shownIn } from './hysteresis.ts'
import { type Check, type CheckPlan, checkKey, PlanRunner, type Verdict, worstOf } from './verdict.ts'

interface Parts {
  /** Cheap ones, looked at often; the agent's own facts are among them. */
  readonly quick: readonly CheckPlan[]
  /** One run of the child that does the rest; `turn` counts them. */
  readonly thorough: (turn: number, signal: AbortSignal) => Promise<readonly Check[]>
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

interface Config {
  readonly everyMs: number
  /** Hears of a broken invariant: the agent must then end. */
  readonly onBroken: (error: unknown) => void
}

/** What is known of the node at one moment. */
export interface HealthReport {
  readonly verdict: Verdict
  /** Worst first. */
  readonly checks: readonly Check[]
}

/** A thorough look for so many quick ones; the first one comes with the third. */
const quickPerThorough = 10
const quickBeforeFirstThorough = 2

/** Looks at the node: the quick checks every half minute, the thorough ones every five. Nothing is written while nothing changes. */
export class NodeHealth implements Service {
  readonly name = 'node-health'
  readonly #parts: Parts
  readonly #config: Config
  readonly #stop = new AbortController()
  readonly #runner = new PlanRunner()
  readonly #watchers = new Set<() => void>()
  #quick: HealthMemory = new Map()
  #thorough: HealthMemory = new Map()
  #turn = 0
  #looking: { readonly thorough: boolean; readonly over: Promise<void> } | undefined
  #loop: Promise<void> = Promise.resolve()

  constructor(parts: Parts, config: Config) {
    this.#parts = parts
    this.#config = config
  }

  async start(): Promise<void> {
    this.#loop = this.#keepLooking().catch((e: unknown) => {
      if (!this.#stop.signal.aborted) this.#config.onBroken(e)
    })
  }

  async stop(): Promise<void> {
    this.#stop.abort()
    await this.#loop
    await this.#looking?.over
  }

  report(): HealthReport {
    const checks = inOrderOfWeight([...shownIn(this.#quick), ...shownIn(this.#thorough)])
    return { verdict: worstOf(checks), checks }
  }

  /** Why new work of this kind is refused now; undefined where it is welcome. */
  refusal(work: Work): string | undefined {
    return refusalOf([...shownIn(this.#quick), ...shownIn(this.#thorough)], work)
  }

  /** Hears of every change of a verdict. */
  onChange(watcher: () => void): void {
    this.#watchers.add(watcher)
  }

  /** A look at everything; those who ask while one is under way share it. */
  async refresh(): Promise<void> {
    while (this.#looking?.thorough === false) await this.#looking.over
    await (this.#looking?.over ?? this.#look(true))
  }

  async #keepLooking(): Promise<void> {
    const { clock, random } = this.#parts
    const { everyMs } = this.#config
    const { signal } = this.#stop
    let untilThorough = quickBeforeFirstThorough
    await this.#look(false)
    while (!signal.aborted) {
      // Agents that start together do not look together.
      await clock.sleep(everyMs - random.between(0, Math.floor(everyMs / 10)), signal).catch(() => undefined) // stopping
      if (signal.aborted) return
      untilThorough -= 1
      const thorough = untilThorough <= 0
      await (this.#looking?.over ?? this.#look(thorough))
      // What is in doubt is looked at again soon.
      if (thorough) untilThorough = hasDoubts(this.#thorough) ? 1 : quickPerThorough
    }
  }

  #look(thorough: boolean): Promise<void> {
    const over = this.#lookAt(thorough).finally(() => {
      this.#looking = undefined
    })
    this.#looking = { thorough, over }
    return over
  }

  async #lookAt(thorough: boolean): Promise<void> {
    const { signal } = this.#stop
    const before = this.report().checks
    const [quick, rest] = await Promise.all([
      this.#runner.run(this.#parts.quick, signal),
      thorough ? this.#parts.thorough(this.#turn, signal) : undefined
    ])
    if (signal.aborted) return
    this.#quick = settle(this.#quick, quick)
    if (rest !== undefined) {
      this.#turn += 1
      this.#thorough = settle(this.#thorough, rest)
    }
    const changed = changes(before, this.report().checks)
    for (const { kind, subject, verdict, reason } of changed) {
      const fields = { check: kind, subject, verdict, reason }
      if (verdict === 'FAILURE') this.#parts.log.error(fields, 'node.check_changed')
      else this.#parts.log.info(fields, 'node.check_changed')
    }
    if (changed.length > 0) for (const watcher of this.#watchers) watcher()
  }
}

/** The rows whose verdict is another one; what is not there counts as OK. */
function changes(before: readonly Check[], after: readonly Check[]): readonly Check[] {
  const was = new Map(before.map((row) => [checkKey(row), row]))
  const is = new Set(after.map(checkKey))
  const gone = before.filter((row) => row.verdict !== 'OK' && !is.has(checkKey(row)))
  return [
    ...after.filter((row) => (was.get(checkKey(row))?.verdict ?? 'OK') !== row.verdict),
    ...gone.map((row) => ({ ...row, verdict: 'OK' as const, reason: 'is not checked any more', remedy: '' }))
  ]
}
