import { tame } from './checks/words.ts'
import { type Check, rowsOf, type Verdict } from './verdict.ts'

/** How an operator's own check ended. */
export type OwnCheckEnd =
  | { readonly kind: 'exited'; readonly code: number; readonly output: Uint8Array }
  | { readonly kind: 'signaled'; readonly signal: string }
  | { readonly kind: 'timed-out'; readonly afterMs: number }
  | { readonly kind: 'not-run'; readonly why: string }

const verdicts: readonly Verdict[] = ['OK', 'WARNING', 'FAILURE', 'UNKNOWN']
const longestReason = 200

/**
 * The row of an own check: its exit code is the verdict, as Nagios has it, its first line the reason, its second one the
 * remedy. Any bytes will do: what is no text is left out.
 */
export function readOwnCheck(name: string, end: OwnCheckEnd): Check {
  const subject = tame(name, 64)
  const row = rowsOf('own', subject)
  const remedy = `run it by hand: ${subject}`
  switch (end.kind) {
    case 'timed-out':
      return row.unknown(`did not end within ${end.afterMs} ms and was killed`, remedy)
    case 'signaled':
      return row.unknown(`ended by ${end.signal}`, remedy)
    case 'not-run':
      return row.unknown(tame(end.why, longestReason), 'see docs/node-health.md on how to write an own check')
    case 'exited': {
      const [first = '', second = ''] = Buffer.from(end.output).toString('utf8').split('\n', 2)
      const verdict = verdicts[end.code]
      if (verdict === undefined) return row.unknown(`ended with exit code ${end.code}, which is none of 0 to 3`, remedy)
      const said = tame(second, longestReason)
      const reason = tame(first, longestReason) || 'says nothing'
      return { kind: 'own', subject, verdict, reason, remedy: verdict === 'OK' ? '' : said || remedy }
    }
  }
}
