/** The times of a lease. Pure; all in milliseconds of boot time (CLOCK_BOOTTIME), which stands still only while nothing can run. */

/** A lease as granted: it holds from the moment its request was sent, so that it ends here before it ends for the grantor. */
export interface Term {
  readonly sentMs: number
  readonly lengthMs: number
}

export const endsAtMs = (term: Term): number => term.sentMs + term.lengthMs

/** What is kept back of a lease for the end of its containers. */
export const reserveMs = (lengthMs: number): number => Math.min(5_000, Math.max(500, Math.floor(lengthMs / 5)))

export const killAtMs = (term: Term): number => endsAtMs(term) - reserveMs(term.lengthMs)

/** When the next request goes out. `askedMs`: of the last one that was not answered. */
export function nextRequestMs(term: Term | undefined, askedMs: number | undefined, wishedMs: number): number {
  if (askedMs !== undefined) return askedMs + Math.min(5_000, Math.max(200, Math.floor(wishedMs / 8)))
  return term === undefined ? 0 : term.sentMs + Math.floor(term.lengthMs / 3)
}
