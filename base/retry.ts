import type { Clock } from './clock.ts'
import type { Random } from './random.ts'

export interface BackOff {
  readonly firstMs: number
  readonly mostMs: number
}

/** The pause before try `attempt` (0 = first retry): doubled each time, capped, half of it drawn at random. */
export function backOffMs(backOff: BackOff, attempt: number, random: Random): number {
  const full = Math.min(backOff.mostMs, backOff.firstMs * 2 ** Math.min(attempt, 30))
  const half = Math.floor(full / 2)
  return half + random.between(0, full - half)
}

interface RetryParts {
  readonly clock: Clock
  readonly random: Random
}

/** Repeats `work` until it succeeds, `budget` tries are used, or `again` says that no retry can help. */
export async function retry<T>(
  parts: RetryParts,
  plan: BackOff & { readonly budget: number },
  again: (e: unknown) => boolean,
  work: () => Promise<T>,
  signal: AbortSignal
): Promise<T> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await work()
    } catch (e) {
      if (attempt + 1 >= plan.budget || signal.aborted || !again(e)) throw e
      await parts.clock.sleep(backOffMs(plan, attempt, parts.random), signal)
    }
  }
}
