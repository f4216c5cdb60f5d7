import type { Clock } from '../../base/clock.ts'
import type { Beat } from './beat.ts'
import { judgeEventLoop, judgeLedger, judgeMaster, judgeRestarts, judgeSyncLatency, type LedgerFacts } from './checks/agent.ts'
import { judgeClockSteps } from './checks/clock.ts'
import type { SyncMeter } from './sync-meter.ts'
import type { CheckPlan } from './verdict.ts'

export interface AgentFacts {
  readonly clock: Clock
  readonly beat: Pick<Beat, 'latenessMs' | 'clockWatch'>
  readonly syncs: Pick<SyncMeter, 'recentMs' | 'windowMs'>
  /** Wall times of the starts in this boot. */
  readonly startsMs: () => readonly number[]
  readonly ledger: () => LedgerFacts
  readonly registered: () => boolean
}

/** What only the agent itself can tell. */
export function agentPlans(facts: AgentFacts): readonly CheckPlan[] {
  const { clock, beat, syncs } = facts
  let heardMs = clock.monotonicMs()
  const sinceMaster = (registered: boolean): number => {
    if (registered) heardMs = clock.monotonicMs()
    return clock.monotonicMs() - heardMs
  }
  return [
    { kind: 'agent.loop', run: async () => [judgeEventLoop(beat.latenessMs)] },
    { kind: 'agent.restarts', run: async () => [judgeRestarts(facts.startsMs(), clock.wallMs())] },
    { kind: 'clock.steps', run: async () => [judgeClockSteps(beat.clockWatch.steps, clock.monotonicMs())] },
    { kind: 'disk.latency', run: async () => [judgeSyncLatency(syncs.recentMs(), syncs.windowMs)] },
    { kind: 'ledger', run: async () => [judgeLedger(facts.ledger())] },
    {
      kind: 'master',
      run: async () => {
        const registered = facts.registered()
        return [judgeMaster({ registered, sinceMs: sinceMaster(registered) })]
      }
    }
  ]
}
