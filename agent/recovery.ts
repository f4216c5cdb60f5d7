import type { ContainerExit, Observed, RunningContainer } from '../isolators/runtime/runtime.ts'
import { completeMessage } from '../proto/codec.ts'
import type { KillPolicy, ObjectRow, TaskRow } from '../proto/gen/messages.ts'
import { isTerminal } from '../proto/task-state.ts'
import type { LedgerTask, LedgerView } from './ports.ts'

export interface RecoveryFacts {
  readonly bootId: string
  /** What the kernel shows, by container id: of every container of the ledger, and of those that it does not know. */
  readonly observed: ReadonlyMap<string, Observed>
  /** Rows as the bundles carry them, of containers whose row the ledger has not (agent/rebuild.ts). All are this agent's own. */
  readonly kept: ReadonlyMap<string, TaskRow>
  /** Nothing of the ledger was ever lost: what it does not know was ended and forgotten. */
  readonly isWhole: boolean
}

export type RecoveryAction =
  /** Its row was lost: it goes into the ledger again. Comes before everything else. */
  | { readonly kind: 'rebuild'; readonly containerId: string; readonly row: TaskRow }
  /** It runs: watch it again; where `running` was never reported, report it now. */
  | { readonly kind: 'reattach'; readonly containerId: string; readonly container: RunningContainer }
  /** It lives, and which process is its first is not known: wait until its cgroup is empty, and end it if that was asked for. */
  | { readonly kind: 'watch'; readonly containerId: string; readonly killRequested: boolean }
  /** It runs, and its end was asked for before the restart: watch it again and end it. */
  | {
      readonly kind: 'kill'
      readonly containerId: string
      readonly container: RunningContainer
      readonly policy: KillPolicy | null
    }
  /** It ended while no agent watched, and its exit was kept. */
  | {
      readonly kind: 'report-ended'
      readonly containerId: string
      readonly exit: ContainerExit
      readonly killRequested: boolean
    }
  /** It is gone, or its monitor was, and nobody saw how it ended. */
  | {
      readonly kind: 'report-lost'
      readonly containerId: string
      readonly reason: 'exit_unknown' | 'node_rebooted'
      readonly message: string
      readonly killRequested: boolean
    }
  /** Its end was asked for and it never ran. */
  | { readonly kind: 'report-killed'; readonly containerId: string }
  /** End, if anything still runs, and remove whatever is left of it. Comes after the report and before the relaunch. */
  | { readonly kind: 'clean-up'; readonly containerId: string }
  /** Recorded and never started: start it now, the assignment stands. */
  | { readonly kind: 'relaunch'; readonly containerId: string }
  /** Left by a task that was ended and forgotten; nothing runs in it. */
  | { readonly kind: 'remove-orphan'; readonly containerId: string }
  /** Nobody knows what it is for: it is told and left alone. */
  | { readonly kind: 'unowned'; readonly containerId: string; readonly observed: Observed['kind'] }

const order: readonly RecoveryAction['kind'][] = [
  'rebuild',
  'reattach',
  'watch',
  'kill',
  'report-ended',
  'report-lost',
  'report-killed',
  'clean-up',
  'relaunch',
  'remove-orphan',
  'unowned'
]

/**
 * What to do after the agent's start: every task of the ledger against what the kernel shows. Pure.
 *
 * A task is started again only where it is proven that it never ran: its monitor was never recorded as done, no status says that
 * it ran, the boot is the same (or it is a restart that waited for its time) and no record of it was lost. Everything else that is gone is reported as lost.
 */
export function recover(view: LedgerView, facts: RecoveryFacts): readonly RecoveryAction[] {
  const actions: RecoveryAction[] = []
  for (const [containerId, task] of view.tasks) {
    const observed = facts.observed.get(containerId) ?? { kind: 'absent' }
    if (task.row.group === null) actions.push(...recoverRowless(containerId, task, observed, facts))
    else actions.push(...recoverTask(containerId, task, observed, facts.bootId))
  }
  for (const [containerId, observed] of facts.observed) {
    if (!view.tasks.has(containerId)) actions.push(...recoverUnknown(containerId, observed, facts))
  }
  return actions.sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind))
}

/** Its row was lost to damage: the bundle tells it, or else the last status tells at least whose it is. */
function recoverRowless(containerId: string, task: LedgerTask, observed: Observed, facts: RecoveryFacts): RecoveryAction[] {
  const row = facts.kept.get(containerId) ?? rowOfStatus(task)
  if (row === undefined) return unowned(containerId, observed)
  return [
    { kind: 'rebuild', containerId, row },
    ...recoverTask(containerId, { ...task, row, doubtful: true }, observed, facts.bootId)
  ]
}

/** No record tells of it. What runs is taken over: the master knows whether it should. */
function recoverUnknown(containerId: string, observed: Observed, facts: RecoveryFacts): RecoveryAction[] {
  if (observed.kind === 'absent') return []
  const row = facts.kept.get(containerId)
  if (row === undefined) return unowned(containerId, observed)
  const isOver = observed.kind === 'remains' || observed.kind === 'exited'
  if (isOver && facts.isWhole) return [{ kind: 'remove-orphan', containerId }]
  const task: LedgerTask = { row, kill: null, objects: new Map(), latest: null, unacknowledged: [], doubtful: true }
  return [{ kind: 'rebuild', containerId, row }, ...recoverTask(containerId, task, observed, facts.bootId)]
}

const unowned = (containerId: string, observed: Observed): RecoveryAction[] =>
  observed.kind === 'absent' ? [] : [{ kind: 'unowned', containerId, observed: observed.kind }]

function rowOfStatus({ row, latest }: LedgerTask): TaskRow | undefined {
  if (latest === null || latest.taskId === '') return undefined
  const { frameworkId, taskId, attempt } = latest
  const tasks = [completeMessage('TaskDefinition', { taskId })]
  return { ...row, attempt, group: completeMessage('TaskGroup', { frameworkId, role: '*', tasks }) }
}

function recoverTask(containerId: string, task: LedgerTask, observed: Observed, bootId: string): RecoveryAction[] {
  if (hasEnded(task)) {
    const isClean = observed.kind === 'absent' && task.objects.size === 0
    return isClean ? [] : [{ kind: 'clean-up', containerId }]
  }
  const killRequested = task.kill !== null
  switch (observed.kind) {
    case 'running':
      return follow(containerId, task, observed.container)
    case 'unknown':
      if (!hasRun(task) && !task.doubtful) return recoverGone(containerId, task, bootId)
      if (observed.container !== undefined) return follow(containerId, task, observed.container)
      return [{ kind: 'watch', containerId, killRequested }]
    case 'exited':
      return [
        { kind: 'report-ended', containerId, exit: observed.exit, killRequested },
        { kind: 'clean-up', containerId }
      ]
    case 'remains':
    case 'absent':
      return recoverGone(containerId, task, bootId)
  }
}

const follow = (containerId: string, { kill }: LedgerTask, container: RunningContainer): RecoveryAction[] =>
  kill === null ? [{ kind: 'reattach', containerId, container }] : [{ kind: 'kill', containerId, container, policy: kill.policy }]

function recoverGone(containerId: string, task: LedgerTask, bootId: string): RecoveryAction[] {
  const killRequested = task.kill !== null
  const cleanUp = { kind: 'clean-up', containerId } as const
  if (isOfAnotherBoot(task, bootId)) {
    const message = 'the node restarted while the task was on it'
    return [{ kind: 'report-lost', containerId, reason: 'node_rebooted', message, killRequested }, cleanUp]
  }
  if (hasRun(task) || task.doubtful) {
    const message = task.doubtful
      ? 'the container is gone, and the records that could tell how it ended were damaged'
      : 'the container ended while no agent watched, and its exit code was not kept'
    return [{ kind: 'report-lost', containerId, reason: 'exit_unknown', message, killRequested }, cleanUp]
  }
  if (killRequested) return [{ kind: 'report-killed', containerId }, cleanUp]
  return [cleanUp, { kind: 'relaunch', containerId }]
}

const hasEnded = ({ latest }: LedgerTask): boolean =>
  latest !== null && latest.state !== 'unspecified_state' && isTerminal(latest.state)

/**
 * Boot-bound objects carry the boot they were made in, a task's row the one it was accepted in. A restart that waits belongs to no
 * boot: it is the node's own promise to begin again, and keeps its number until it does.
 */
function isOfAnotherBoot({ row, objects, latest }: LedgerTask, bootId: string): boolean {
  const isRestart = row.previousContainerId !== ''
  if (isRestart && objects.size === 0 && latest === null) return false
  const records = isRestart && objects.size > 0 ? [...objects.values()] : [row, ...objects.values()]
  return records.some((record) => record.bootId !== '' && record.bootId !== bootId)
}

const holders: readonly ObjectRow['kind'][] = ['conmon', 'runtime_state', 'docker_container']

function hasRun({ latest, objects }: LedgerTask): boolean {
  if (latest?.state === 'running' || latest?.state === 'killing') return true
  return [...objects.values()].some(({ kind, phase }) => holders.includes(kind) && phase === 'done')
}
