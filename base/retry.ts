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
