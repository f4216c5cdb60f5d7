import type { Init } from '../../proto/codec.ts'
import type { NodeHealthReport } from '../../proto/gen/messages.ts'
import { refusalOf } from './danger.ts'
import type { HealthReport } from './monitor.ts'
import { checkKey } from './verdict.ts'

/** The master hears of no more than this; `hearth node health NODE` tells all. */
const mostProblems = 16
const longestReason = 300

/** What the master needs to know: whether to offer this node, and what to show. Null before the first look. */
export function summaryOf({ verdict, checks }: HealthReport): Init<NodeHealthReport> | null {
  if (checks.length === 0) return null
  const problems = checks.filter((check) => check.verdict !== 'OK').slice(0, mostProblems)
  return {
    verdict,
    refusesLaunches: refusalOf(checks, 'launch') !== undefined,
    problems: problems.map((check) => ({ ...check, reason: check.reason.slice(0, longestReason) }))
  }
}

/** Differs where the master should hear of it: figures in a reason alone are no news. */
export const newsOf = (summary: Init<NodeHealthReport> | null): string =>
  JSON.stringify([
    summary?.verdict,
    summary?.refusesLaunches,
    summary?.problems?.map((p) => [checkKey({ kind: p.kind ?? '', subject: p.subject ?? '' }), p.verdict])
  ])
