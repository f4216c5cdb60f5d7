import { Fault } from '../base/fault.ts'
import type { TaskDefinition, TaskGroup } from './gen/messages.ts'

/** What a pod may be: a group of several tasks that share namespaces and live and die together (docs/pods.md). Pure. */

/** Every launch of a pod carries all of it, once for each of its tasks. */
const mostInPod = 16

/** The capability of a node whose agent runs groups of several tasks. */
export const podCapability = 'pods'

/** Where every container of a pod finds the folder that they share. */
export const podMountPoint = '/pod'

export const isPod = (group: Pick<TaskGroup, 'tasks'>): boolean => group.tasks.length > 1

export type Part = 'init' | 'sidecar' | 'main'

export const partOf = ({ part }: Pick<TaskDefinition, 'part'>): Part => (part === 'unspecified_part' ? 'main' : part)

/** Throws `Fault('invalid')`, or `unsupported` with `detail.reason`, with the first thing that is wrong with the pod as a whole. */
export function checkPod(group: Pick<TaskGroup, 'tasks' | 'shareProcesses'>): void {
  const [wrong] = mistakes(group)
  if (wrong !== undefined) throw new Fault('invalid', wrong, { reason: 'task_invalid' })
  const [beyond] = unsupported(group.tasks)
  if (beyond !== undefined) throw new Fault('unsupported', beyond, { reason: 'unsupported_request' })
}

function* mistakes({ tasks, shareProcesses }: Pick<TaskGroup, 'tasks' | 'shareProcesses'>): Generator<string> {
  if (tasks.length === 0) yield 'a pod has at least one container: name one'
  if (tasks.length > mostInPod)
    yield `a pod has at most ${mostInPod} containers, this one ${tasks.length}: make several pods of it`
  if (tasks.length === 1 && shareProcesses) yield 'one container alone shares its processes with nobody: leave that out'
  const ids = new Set<string>()
  for (const { taskId } of tasks) {
    if (ids.has(taskId)) yield `two containers of the pod are called ${taskId}: give each a name of its own`
    ids.add(taskId)
  }
  const [first] = tasks
  if (!tasks.some((task) => partOf(task) === 'main')) {
    yield 'a pod needs a main container: init containers and side-cars alone have nothing to work for'
  }
  for (const task of tasks) {
    const { taskId, probes, network } = task
    if (partOf(task) === 'init' && probes.length > 0)
      yield `the init container ${taskId} has a probe: it is ready when it has ended well, so leave the probe out`
    if (first !== undefined && modeOf(network) !== modeOf(first.network))
      yield `${first.taskId} asks for the network ${modeOf(first.network)} and ${taskId} for ${modeOf(network)}: a pod has one network`
  }
}

function* unsupported(tasks: readonly TaskDefinition[]): Generator<string> {
  for (const { taskId, runtime, restart, lease, walls } of tasks) {
    if (runtime === 'docker') yield `Docker runs no pods: give ${taskId} the runtime runc or crun`
    if (restart !== null && restart.mode !== 'never' && restart.mode !== 'unspecified_restart')
      yield `a pod is not restarted by its node: leave the restart policy of ${taskId} out, or set it to never`
    if (lease !== null) yield `containers of a pod run without a lease: leave that of ${taskId} out`
    if (walls?.userNamespace === true)
      yield `containers of a pod share namespaces that belong to the node, so ${taskId} can have no user namespace of its own`
  }
}

const modeOf = (network: TaskDefinition['network']): string => (network?.mode === 'none' ? 'none' : 'host')
