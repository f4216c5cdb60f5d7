import type { MetricFamily } from '../node-health/metrics-text.ts'
import { type Check, type CheckPlan, rowsOf } from '../node-health/verdict.ts'
import type { OrphanCounts } from './compare.ts'

/** What scrape and health hear of the last look. Pure. */

export const orphanMetrics = (orphans: OrphanCounts): readonly MetricFamily[] => [
  {
    name: 'hearth_orphans',
    type: 'gauge',
    help: 'Objects of the kind that are present and that no row of the ledger owns, at the last look.',
    samples: Object.entries(orphans).map(([kind, value]) => ({ labels: { kind }, value }))
  }
]

export const orphanPlan = (orphans: () => OrphanCounts): CheckPlan => ({
  kind: 'orphans',
  run: async () => [judgeOrphans(orphans())]
})

export function judgeOrphans(orphans: OrphanCounts): Check {
  const rows = rowsOf('orphans')
  const some = Object.entries(orphans).filter(([, count]) => count > 0)
  if (some.length === 0) return rows.ok('the ledger owns everything that is there')
  const list = some.map(([kind, count]) => `${count} ${kind.replaceAll('_', ' ')}`).join(', ')
  return rows.warning(`no row of the ledger owns ${list}`, 'see hearth node fsck, then hearth node fsck --repair')
}
