import { type Check, rowsOf } from '../verdict.ts'
import { countOf, showSpan } from './words.ts'

/** What the agent knows of itself: its event loop, its restarts, its memory on disk, its master. */

const loopRemedy = 'see who takes the processor: hearth node top; report it if the agent itself does'

/** `latenessMs`: by how much each of the last ticks came too late. */
export function judgeEventLoop(latenessMs: readonly number[]): Check {
  const row = rowsOf('agent.loop')
  if (latenessMs.length === 0) return row.ok('not measured yet')
  const sorted = [...latenessMs].sort((a, b) => a - b)
  const worst = sorted.at(-1) ?? 0
  const middle = sorted[Math.floor(sorted.length / 2)] ?? 0
  const reason = `the event loop was at most ${showSpan(worst)} late in the last ${showSpan(sorted.length * 1_000)}`
  if (middle >= 2_000) return row.failure(`${reason}, ${showSpan(middle)} half of the time`, loopRemedy)
  return worst >= 1_000 ? row.warning(reason, loopRemedy) : row.ok(reason)
}

const restartWindowMs = 15 * 60_000
const manyRestarts = 3

/** `startsMs`: wall times of the agent's starts in this boot, this one included. */
export function judgeRestarts(startsMs: readonly number[], wallMs: number): Check {
  const row = rowsOf('agent.restarts')
  const recent = startsMs.filter((at) => wallMs - at < restartWindowMs && at <= wallMs)
  const since = startsMs.at(-1)
  const running = since === undefined ? '' : `, runs for ${showSpan(wallMs - since)}`
  const restarts = recent.length - 1
  if (restarts < manyRestarts) return row.ok(`${countOf(Math.max(0, startsMs.length - 1), 'restart')} since boot${running}`)
  return row.warning(
    `the agent restarted ${restarts} times in the last ${showSpan(restartWindowMs)}`,
    'its log tells why: journalctl -u hearth-agent, or logs/agent.log in the state directory'
  )
}

/** Milliseconds that syncs of the ledger took, the newest last. */
export function judgeSyncLatency(syncsMs: readonly number[], windowMs: number): Check {
  const row = rowsOf('disk.latency')
  if (syncsMs.length === 0) return row.ok(`the ledger was not written in the last ${showSpan(windowMs)}`)
  const sorted = [...syncsMs].sort((a, b) => a - b)
  const middle = sorted[Math.floor(sorted.length / 2)] ?? 0
  const worst = sorted.at(-1) ?? 0
  const reason = `a sync of the ledger takes ${showSpan(middle)}, at most ${showSpan(worst)} (${sorted.length} in the last ${showSpan(windowMs)})`
  const remedy = 'see whether the disk is dying (smartctl -a) or busy (iostat -x 1)'
  if (sorted.length >= 3 && middle >= 5_000) return row.failure(reason, remedy)
  return middle >= 200 || worst >= 5_000 ? row.warning(reason, remedy) : row.ok(reason)
}

export interface LedgerFacts {
  readonly full: boolean
  readonly quarantined: number
}

export function judgeLedger({ full, quarantined }: LedgerFacts): Check {
  const row = rowsOf('ledger')
  if (full) {
    const reason = 'the disk is full: what ends tasks is still recorded, nothing new is started'
    return row.failure(reason, 'free some space on the disk of the state directory')
  }
  if (quarantined === 0) return row.ok('sound')
  const reason = `${countOf(quarantined, 'damaged stretch', 'damaged stretches')} were put into quarantine`
  return row.warning(reason, 'see the files quarantine-*.bin in agent/ledger, and check the disk: smartctl -a')
}

const masterPatienceMs = 60_000

export function judgeMaster(link: { readonly registered: boolean; readonly sinceMs: number }): Check {
  const row = rowsOf('master')
  if (link.registered) return row.ok('registered')
  const reason = `no master has taken this agent for ${showSpan(link.sinceMs)}; its tasks go on`
  if (link.sinceMs < masterPatienceMs) return row.ok(reason)
  return row.warning(reason, 'see whether the master runs (hearth status) and whether HEARTH_MASTERS names it')
}
