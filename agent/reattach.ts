import { isFault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import type { Observed, RunningContainer, Runtime } from '../isolators/runtime/runtime.ts'
import type { TaskRow } from '../proto/gen/messages.ts'
import { isContainerId } from '../proto/ids.ts'
import { bundlesOf } from './identity.ts'
import type { Ledger } from './ports.ts'
import { readProvenance } from './rebuild.ts'
import { type RecoveryAction, type RecoveryFacts, recover } from './recovery.ts'
import { endStrayExecs } from './stray-execs.ts'
import type { TaskRunner } from './task-runner.ts'
import type { Tasks } from './tasks.ts'

export interface ReattachParts {
  readonly ledger: Ledger
  readonly runtime: Runtime
  readonly tasks: Tasks
  readonly log: Log
}

export interface ReattachConfig {
  readonly runDir: string
  readonly bootId: string
  /** Nothing of the ledger was ever lost (agent/identity.ts). */
  readonly isWhole: boolean
}

/** How long a launch or an end that the last agent left may take until it is judged by what is there. */
const settleDeadlineMs = 60_000

/** Looks at what the kernel shows, lets recovery.ts decide, and sets the tasks going again. Resolves when all are under way. */
export async function reattach(parts: ReattachParts, config: ReattachConfig): Promise<void> {
  const { ledger, runtime, log } = parts
  const bundles = (await bundlesOf(config.runDir)).filter(isContainerId)
  const observed = new Map<string, Observed>()
  for (const id of new Set([...ledger.view.tasks.keys(), ...bundles])) observed.set(id, await runtime.inspect(id))
  const facts = { bootId: config.bootId, isWhole: config.isWhole, observed, kept: keptRows(ledger, config, observed.keys()) }
  await recoverAll(parts, facts)
  log.info({ containers: observed.size }, 'agent.recovered')
}

/** Takes one running container of ours into the ledger and under watch. */
export async function adopt(parts: ReattachParts, config: ReattachConfig, containerId: string): Promise<void> {
  const observed = new Map([[containerId, await parts.runtime.inspect(containerId)]])
  const { view } = parts.ledger
  if (view.tasks.has(containerId)) return
  const alone = { ...view, head: view.head, tasks: new Map() }
  const kept = keptRows(parts.ledger, config, [containerId])
  await carryOutAll(parts, recover(alone, { bootId: config.bootId, isWhole: config.isWhole, observed, kept }), [])
}

async function recoverAll(parts: ReattachParts, facts: RecoveryFacts): Promise<void> {
  const { view } = parts.ledger
  await carryOutAll(parts, recover(view, facts), view.tasks.keys())
}

/** `containerIds`: those that get a runner even where nothing is to be done. */
async function carryOutAll(
  parts: ReattachParts,
  decided: readonly RecoveryAction[],
  containerIds: Iterable<string>
): Promise<void> {
  const { ledger, tasks, log } = parts
  const plans = new Map<string, RecoveryAction[]>([...containerIds].map((id) => [id, []]))
  const rebuilt: Promise<void>[] = []
  for (const action of decided) {
    const { kind, containerId } = action
    if (kind === 'unowned') log.error({ action: kind, containerId, observed: action.observed }, 'task.recovered')
    else log.info({ action: kind, containerId }, 'task.recovered')
    if (kind === 'rebuild') rebuilt.push(rebuild(parts, action.row))
    else if (kind === 'remove-orphan') await removeOrphan(parts, containerId)
    else if (kind !== 'unowned') plans.set(containerId, [...(plans.get(containerId) ?? []), action])
  }
  await Promise.all(rebuilt)
  for (const [containerId, actions] of plans) {
    const row = ledger.view.tasks.get(containerId)?.row
    if (row !== undefined && row.group !== null) tasks.recovered(row, (runner) => carryOut(parts, runner, actions))
  }
}

async function rebuild({ ledger, log }: ReattachParts, row: TaskRow): Promise<void> {
  try {
    await ledger.append({ task: row }, 'disk')
  } catch (error) {
    if (!isFault(error, 'exhausted')) throw error
    // No room for a row: the container goes on as it is, and the next start tries again.
    log.error({ error, containerId: row.containerId }, 'task.not_rebuilt')
  }
}

/** Rows of this agent's own containers that the ledger does not have. */
function keptRows(ledger: Ledger, { runDir }: ReattachConfig, containerIds: Iterable<string>): ReadonlyMap<string, TaskRow> {
  const rows = new Map<string, TaskRow>()
  for (const id of containerIds) {
    if ((ledger.view.tasks.get(id)?.row.group ?? null) !== null) continue
    const found = readProvenance(runDir, id)
    if (found !== undefined && found.agentId === ledger.view.head.agentId) rows.set(id, found.row)
  }
  return rows
}

/** Nothing runs in it, and its row was forgotten. What cannot be removed is left to fsck. */
async function removeOrphan({ runtime, log }: ReattachParts, containerId: string): Promise<void> {
  try {
    await runtime.remove(containerId, new AbortController().signal)
    runtime.dropExit(containerId)
    log.warn({ containerId }, 'orphan.removed')
  } catch (error) {
    log.error({ error, containerId }, 'orphan.not_removed')
  }
}

async function carryOut(parts: ReattachParts, runner: TaskRunner, actions: readonly RecoveryAction[]): Promise<void> {
  const [first] = actions
  if (first === undefined) return runner.settle()
  if ('killRequested' in first && first.killRequested) runner.decideKill()
  switch (first.kind) {
    case 'reattach':
      return takeOver(parts, runner, first.container)
    case 'kill':
      runner.decideKill()
      return takeOver(parts, runner, first.container)
    case 'watch':
      return runner.takeOver({ pid: 0, startTicks: 0, monitorPid: 0 })
    case 'report-ended':
      return runner.endUnseen(first.exit)
    case 'report-lost':
      if (await goesOn(parts, runner)) return
      return runner.endUnseen(
        first.killRequested
          ? { kind: 'lost', why: first.message }
          : { state: 'failed', reason: first.reason, message: first.message }
      )
    case 'report-killed':
      await parts.runtime.endLaunch(runner.containerId)
      return runner.endUnseen({ state: 'killed', reason: 'killed_during_launch', message: 'killed as asked before it ran' })
    case 'clean-up':
      return actions.some((a) => a.kind === 'relaunch') ? relaunch(parts, runner) : runner.settle(true)
    case 'relaunch':
      return relaunch(parts, runner)
    case 'rebuild':
    case 'remove-orphan':
    case 'unowned':
      return undefined
  }
}

/** One that no record says to run yet may still be in the middle of its launch. */
async function takeOver(parts: ReattachParts, runner: TaskRunner, container: RunningContainer): Promise<void> {
  const { state } = parts.ledger.view.tasks.get(runner.containerId)?.latest ?? {}
  if (state !== 'running' && state !== 'killing' && (await goesOn(parts, runner))) return
  endExecs(parts, runner)
  return runner.takeOver(container)
}

function endExecs({ log }: ReattachParts, { bundleDir, containerId }: TaskRunner): void {
  const ended = endStrayExecs(bundleDir, containerId)
  if (ended > 0) log.info({ containerId, files: ended }, 'exec.strays_ended')
}

/**
 * True where the container, which looked gone, was in the middle of its launch or of its end: it has then been followed to its
 * end. Its monitor needed no agent for either.
 */
async function goesOn({ runtime }: ReattachParts, runner: TaskRunner): Promise<boolean> {
  const seen = await runtime.settled(runner.containerId, AbortSignal.timeout(settleDeadlineMs))
  if (seen.kind === 'running') await runner.takeOver(seen.container)
  else if (seen.kind === 'exited') await runner.endUnseen(seen.exit)
  else return false
  return true
}

/** Only what never ran is started again; what is left of a launch that came to nothing is stopped first. */
async function relaunch(parts: ReattachParts, runner: TaskRunner): Promise<void> {
  if (await goesOn(parts, runner)) return
  if ((await parts.runtime.endLaunch(runner.containerId)) === 'may-have-run') {
    return runner.endUnseen({
      state: 'failed',
      reason: 'exit_unknown',
      message: 'the agent was stopped while it started the container, which may have run'
    })
  }
  await runner.clear()
  return parts.tasks.launchRecovered(runner)
}
