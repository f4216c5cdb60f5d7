import { errnoOf, isFault } from '../../base/fault.ts'

/** What a check says of the node. The words are those of the monitoring world, and so are the exit codes. */
export type Verdict = 'OK' | 'WARNING' | 'FAILURE' | 'UNKNOWN'

export interface Check {
  /** What is looked at: `disk`, `memory`, `own`. The table of endangered work (danger.ts) goes by it. */
  readonly kind: string
  /** Which one, where a node has several; else empty. */
  readonly subject: string
  readonly verdict: Verdict
  readonly reason: string
  /** What a person can do about it; empty where nothing is to be done. */
  readonly remedy: string
}

export const exitCodes: Readonly<Record<Verdict, number>> = { OK: 0, WARNING: 1, FAILURE: 2, UNKNOWN: 3 }

/** From best to worst: what is known to be wrong weighs more than what is not known. */
const order: readonly Verdict[] = ['OK', 'UNKNOWN', 'WARNING', 'FAILURE']

export const compareVerdicts = (a: Verdict, b: Verdict): number => order.indexOf(a) - order.indexOf(b)

export const worstOf = (checks: readonly Pick<Check, 'verdict'>[]): Verdict =>
  checks.reduce<Verdict>((worst, { verdict }) => (compareVerdicts(verdict, worst) > 0 ? verdict : worst), 'OK')

/** A check is known by kind and subject; neither holds a blank line. */
export const checkKey = ({ kind, subject }: Pick<Check, 'kind' | 'subject'>): string => `${kind}\n${subject}`

/** Makes the rows of one kind. */
export const rowsOf = (kind: string, subject = '') => ({
  ok: (reason: string): Check => ({ kind, subject, verdict: 'OK', reason, remedy: '' }),
  warning: (reason: string, remedy: string): Check => ({ kind, subject, verdict: 'WARNING', reason, remedy }),
  failure: (reason: string, remedy: string): Check => ({ kind, subject, verdict: 'FAILURE', reason, remedy }),
  unknown: (reason: string, remedy: string): Check => ({ kind, subject, verdict: 'UNKNOWN', reason, remedy })
})

/** One kind of check with the reading of its facts. */
export interface CheckPlan {
  readonly kind: string
  /** Default 15 s. */
  readonly deadlineMs?: number
  run(signal: AbortSignal): Promise<readonly Check[]>
}

const defaultDeadlineMs = 15_000

/**
 * Runs plans side by side. Facts that cannot be read make one UNKNOWN row, and so does a kind that does not answer in time, such
 * as a file of a disk that hangs: it is not asked again before it has answered, and holds up nobody.
 */
export class PlanRunner {
  readonly #hanging = new Set<string>()

  async run(plans: readonly CheckPlan[], signal: AbortSignal): Promise<readonly Check[]> {
    return (await Promise.all(plans.map((plan) => this.#runOne(plan, signal)))).flat()
  }

  async #runOne(plan: CheckPlan, signal: AbortSignal): Promise<readonly Check[]> {
    if (this.#hanging.has(plan.kind)) return [silent(plan.kind, 'still')]
    this.#hanging.add(plan.kind)
    const answer = settled(plan, signal).finally(() => this.#hanging.delete(plan.kind))
    const late = new Promise<readonly Check[]>((resolve) => {
      const timer = setTimeout(() => resolve([silent(plan.kind, 'in time')]), plan.deadlineMs ?? defaultDeadlineMs)
      const stop = (): void => clearTimeout(timer)
      void answer.then(stop, stop)
    })
    return await Promise.race([answer, late])
  }
}

/** What cannot even be looked at is a failure only where the disk is meant: everything that is started needs it. */
function silent(kind: string, when: string): Check {
  const reason = when === 'still' ? 'still gives no answer' : 'gave no answer in time'
  const remedy = 'see what hangs: ps -eo pid,stat,wchan:30,args | grep " D"'
  return kind === 'disk' ? rowsOf(kind).failure(reason, remedy) : rowsOf(kind).unknown(reason, remedy)
}

async function settled(plan: CheckPlan, signal: AbortSignal): Promise<readonly Check[]> {
  try {
    return await plan.run(signal)
  } catch (e) {
    const errno = errnoOf(e)
    if (!isFault(e) && errno === undefined && !signal.aborted) throw e
    const seen = isFault(e) ? e.message : `its facts cannot be read: ${e instanceof Error ? e.message : String(e)}`
    return [rowsOf(plan.kind).unknown(seen, 'read the same file or run the same program by hand as root')]
  }
}
