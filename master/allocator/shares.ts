import { type Resources, scalarOf } from '../../proto/resources.ts'

/**
 * Dominant share: the largest part of any one scalar resource of the cluster that somebody holds, divided by weight.
 * Integers in, a ratio out; it only ever orders, it is never stored.
 */
export function dominantShare(held: Resources, total: Resources, weight = 1): number {
  let share = 0
  for (const name of new Set(held.filter((r) => r.kind === 'scalar').map((r) => r.name))) {
    const whole = scalarOf(total, name)
    if (whole > 0) share = Math.max(share, scalarOf(held, name) / whole)
  }
  return share / weight
}
