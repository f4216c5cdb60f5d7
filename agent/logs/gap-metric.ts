import type { MetricFamily } from '../node-health/metrics-text.ts'
import type { GapCause } from './gap.ts'

const causes: readonly GapCause[] = ['disk_full', 'unattended_bound']

/** Every cause that the agent looks for, those that were never seen with 0. */
export const logGapsMetric = (found: ReadonlyMap<GapCause, number>): MetricFamily => ({
  name: 'hearth_log_gaps_total',
  help: 'Stretches of task output that are known to be lost, by cause; how much is not known.',
  type: 'counter',
  samples: causes.map((cause) => ({ labels: { cause }, value: found.get(cause) ?? 0 }))
})
