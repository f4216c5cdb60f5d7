import { Fault } from '../../base/fault.ts'
import { completeMessage } from '../../proto/codec.ts'
import type { Launch, TaskDefinition, TaskGroup, TaskRow } from '../../proto/gen/messages.ts'
import { checkPod, isPod } from '../../proto/pods.ts'
import { scalar, scalarOf } from '../../proto/resources.ts'

/**
 * A pod in the ledger: a row for each of its containers, each with a group of that one task alone, so that whoever looks after a
 * task needs to know nothing of pods; and before them the row of the sandbox container, whose task nobody but this agent knows.
 */

/** What all rows of one launch have in common. */
type Begun = Omit<TaskRow, 'group' | 'attempt' | 'containerId' | 'pod'>

/** The sandbox container is the agent's own: no master hears of it. */
export const isSandbox = (row: Pick<TaskRow, 'containerId' | 'pod'> | undefined): boolean =>
  row !== undefined && row.pod !== null && row.pod.sandboxId === row.containerId

/** Of a single task its one row. Throws `Fault('invalid')` or `unsupported` for a group that can be no pod. */
export function rowsOf({ group, attempt, containerId, pod }: Launch, begun: Begun): readonly TaskRow[] {
  if (group === null || !isPod(group)) return [{ ...begun, group, attempt, containerId, pod: null }]
  checkPod(group)
  const { members = [], sandboxId = '' } = pod ?? {}
  const ids = new Set([sandboxId, ...members.map((member) => member.containerId)])
  if (members.length !== group.tasks.length || ids.size !== members.length + 1 || !ids.has(containerId))
    throw new Fault('invalid', 'the launch of a pod names a container for each of its tasks and one more for their sandbox')
  const seat = { sandboxId, containerIds: members.map((member) => member.containerId) }
  const sandbox: TaskRow = {
    ...begun,
    group: { ...group, tasks: [sandboxTask(group)], policy: null },
    attempt: 1,
    containerId: sandboxId,
    pod: seat
  }
  const rows = group.tasks.map((task, i): TaskRow => {
    const member = members[i] ?? { containerId: '', attempt: 0 }
    return { ...begun, group: { ...group, tasks: [task] }, ...member, pod: seat }
  })
  return [sandbox, ...rows]
}

/** It gives back at once what ends in its process namespace: who ignores SIGCHLD leaves no zombies (wait(2), "Linux notes"). */
const idle = ['/bin/sh', '-c', "trap '' CHLD; exec sleep infinity"]

/** A program that does nothing, without a capability, for as long as the pod is there. Its disk limit is that of the shared folder. */
function sandboxTask({ tasks }: TaskGroup): TaskDefinition {
  const disks = tasks.map((task) => scalarOf(task.resources, 'disk'))
  const diskBytes = disks.includes(0) ? 0 : disks.reduce((sum, bytes) => sum + bytes, 0)
  return completeMessage('TaskDefinition', {
    taskId: '',
    name: `pod of ${tasks.map((task) => task.taskId).join(', ')}`.slice(0, 200),
    image: 'host',
    process: { arguments: idle },
    network: tasks[0]?.network ?? null,
    runtime: tasks[0]?.runtime ?? '',
    killPolicy: { signal: '', graceMs: 0 },
    resources: diskBytes === 0 ? [] : [scalar('disk', diskBytes)],
    limits: { pidsMax: 16 },
    walls: { dropCapabilities: ['ALL'], readOnlyRoot: true }
  })
}
