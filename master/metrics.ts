import { monitorEventLoopDelay } from 'node:perf_hooks'
import { type FigureFacts, Figures, type HistogramFacts } from './consensus/figures.ts'
import type { RaftFacts } from './consensus/raft-facts.ts'

type Labels = Readonly<Record<string, string | number>>

interface Metric {
  readonly name: string
  readonly help: string
  readonly type: 'gauge' | 'counter' | 'histogram'
  readonly samples: readonly Sample[]
}

interface Sample {
  /** Behind the name. */
  readonly suffix?: string
  readonly labels?: Labels
  readonly value: number
}

export interface LoopDelay {
  readonly p99Seconds: number
  readonly maxSeconds: number
}

/** How late timers fired in this thread, since it was asked last. */
export function watchLoopDelay(): () => LoopDelay {
  const delay = monitorEventLoopDelay({ resolution: 50 })
  delay.enable()
  return () => {
    const facts = { p99Seconds: delay.percentile(99) / 1e9, maxSeconds: delay.max / 1e9 }
    delay.reset()
    return facts
  }
}

/** What one master knows of the log, as Prometheus reads it. */
export function raftMetrics(
  facts: RaftFacts,
  figures: FigureFacts = new Figures().facts,
  delay: LoopDelay = { p99Seconds: 0, maxSeconds: 0 }
): string {
  return [...logMetrics(facts), ...ownMetrics(figures, delay)].map(render).join('')
}

function ownMetrics({ elections, terms, fsync, commit }: FigureFacts, delay: LoopDelay): readonly Metric[] {
  return [
    { name: 'hearth_raft_elections_total', help: 'How often this master stood.', type: 'counter', samples: one(elections) },
    { name: 'hearth_raft_terms_led_total', help: 'Terms that this master has led.', type: 'counter', samples: one(terms) },
    {
      name: 'hearth_raft_fsync_seconds',
      help: 'fdatasync of log and snapshots, the wait for a thread included.',
      type: 'histogram',
      samples: histogram(fsync)
    },
    {
      name: 'hearth_raft_commit_seconds',
      help: 'From a proposal to its answer; told by the leader.',
      type: 'histogram',
      samples: histogram(commit)
    },
    {
      name: 'hearth_event_loop_delay_seconds',
      help: 'How late timers fired since the last look.',
      type: 'gauge',
      samples: [
        { labels: { quantile: '0.99' }, value: delay.p99Seconds },
        { labels: { quantile: '1' }, value: delay.maxSeconds }
      ]
    }
  ]
}

const one = (value: number): readonly Sample[] => [{ value }]

const histogram = ({ buckets, count, sumSeconds }: HistogramFacts): readonly Sample[] => [
  ...buckets.map((bucket) => ({ suffix: '_bucket', labels: { le: bucket.seconds }, value: bucket.count })),
  { suffix: '_bucket', labels: { le: '+Inf' }, value: count },
  { suffix: '_sum', value: sumSeconds },
  { suffix: '_count', value: count }
]

function logMetrics(facts: RaftFacts): readonly Metric[] {
  const { members, leader, raftId } = facts
  const followers = members.flatMap(({ raftId: member, progress }) =>
    progress === null || member === raftId ? [] : [{ member, progress }]
  )
  return [
    { name: 'hearth_raft_term', help: 'Term of this master.', type: 'gauge', samples: one(facts.term) },
    { name: 'hearth_raft_is_leader', help: '1 where this master leads.', type: 'gauge', samples: one(leader === raftId ? 1 : 0) },
    {
      name: 'hearth_raft_has_leader',
      help: '1 where this master knows a leader.',
      type: 'gauge',
      samples: one(leader === 0 ? 0 : 1)
    },
    {
      name: 'hearth_raft_committed_index',
      help: 'Last entry known to be committed.',
      type: 'counter',
      samples: one(facts.committed)
    },
    { name: 'hearth_raft_applied_index', help: 'Last entry applied.', type: 'counter', samples: one(facts.applied) },
    {
      name: 'hearth_raft_snapshot_index',
      help: 'Entry of the newest snapshot.',
      type: 'counter',
      samples: one(facts.snapshotIndex)
    },
    { name: 'hearth_raft_log_segments', help: 'Files of the log.', type: 'gauge', samples: one(facts.segments) },
    {
      name: 'hearth_raft_disk_full',
      help: '1 where the log takes no more entries.',
      type: 'gauge',
      samples: one(facts.isDiskFull ? 1 : 0)
    },
    {
      name: 'hearth_raft_follower_lag_entries',
      help: 'What a member lacks of the committed log; told by the leader.',
      type: 'gauge',
      samples: followers.map(({ member, progress }) => ({
        labels: { member },
        value: Math.max(0, facts.committed - progress.match)
      }))
    },
    {
      name: 'hearth_raft_follower_active',
      help: '1 where a member has answered within the last election timeout; told by the leader.',
      type: 'gauge',
      samples: followers.map(({ member, progress }) => ({ labels: { member }, value: progress.isActive ? 1 : 0 }))
    }
  ]
}

function render({ name, help, type, samples }: Metric): string {
  if (samples.length === 0) return ''
  const lines = samples.map(({ suffix = '', labels = {}, value }) => `${name}${suffix}${labelText(labels)} ${value}\n`)
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join('')}`
}

function labelText(labels: Labels): string {
  const pairs = Object.entries(labels).map(([key, value]) => `${key}="${value}"`)
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}
