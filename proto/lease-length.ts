/** How long a lease may be. Pure. */

const shortestMs = 3_000
const longestMs = 86_400_000

/** Why no task can be held by a lease of that length; undefined where one can. */
export function unfitLength(lengthMs: number): string | undefined {
  if (lengthMs >= shortestMs && lengthMs <= longestMs) return undefined
  return `a lease of ${lengthMs} ms cannot be held: ask for ${shortestMs / 1_000} s to ${longestMs / 3_600_000} h`
}
