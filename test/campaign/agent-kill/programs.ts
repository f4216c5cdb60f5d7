import type { Init } from '../../../proto/codec.ts'
import type { TaskGroup } from '../../../proto/gen/messages.ts'
import { scalar } from '../../../proto/resources.ts'
import type { ExpectedEnd, ExpectedTask } from '../invariants/expected.ts'
import { markedProgram } from '../invariants/marks.ts'
import { frameworkId } from '../master.ts'
import { marksMount } from '../world.ts'
import type { PlannedTask } from './plan.ts'

const mebibyte = 1024 * 1024
/** Rotated every 64 KiB, with room for everything a writing program writes. */
const logBudget = { fileBytes: 64 * 1024, files: 90 }

export function groupOf(task: PlannedTask, marksDir: string): Init<TaskGroup> {
  const memory = task.kind === 'greedy' ? 24 * mebibyte : 64 * mebibyte
  const words = task.kind === 'absent' ? ['/no/such/program'] : ['sh', '-c', markedProgram(marksMount, bodyOf(task))]
  return {
    frameworkId,
    role: '*',
    tasks: [
      {
        taskId: task.taskId,
        name: task.taskId,
        image: 'host',
        runtime: task.runtime,
        resources: [scalar('cpus', 1_000), scalar('mem', memory)],
        process: { arguments: words },
        mounts: [{ source: marksDir, target: marksMount, readOnly: false }],
        network: { mode: 'host' },
        logBudget
      }
    ]
  }
}

function bodyOf(task: PlannedTask): string {
  switch (task.kind) {
    case 'failing':
      return `code=${task.exitCode}`
    case 'working':
      return `sleep ${task.workMs / 1000}; code=${task.exitCode}`
    case 'lasting':
    case 'unwanted':
      return 'while :; do sleep 100; done'
    case 'polite':
      return `trap 'echo "end 3 " >> "$m"; exit 3' TERM; while :; do sleep 0.02; done`
    case 'writing':
      return `lines=0; while [ $lines -lt ${task.lines} ]; do lines=$((lines+1)); echo $lines; done`
    case 'greedy':
      return 'exec tail /dev/zero'
    default:
      return ''
  }
}

/** What must come of the task; `wanted` is what its state shall be now. */
export function expectedOf(task: PlannedTask, wanted: ExpectedTask['wanted']): ExpectedTask {
  const { taskId, containerId, kind } = task
  return {
    taskId,
    containerId,
    wanted,
    ends: endsOf(task),
    executionsLeast: kind === 'absent' || task.killAfterMs !== undefined ? 0 : 1,
    // The shell and its sleep.
    ...(kind === 'lasting' ? { processes: 2 } : {}),
    ...(kind === 'writing' ? { counts: { cut: false } } : {})
  }
}

function endsOf(task: PlannedTask): readonly ExpectedEnd[] {
  const killed = (exitCode: number): ExpectedEnd => ({ state: 'killed', reason: 'kill_requested', exitCode })
  const inLaunch: readonly ExpectedEnd[] =
    task.killAfterMs === undefined ? [] : [{ state: 'killed', reason: 'killed_during_launch' }]
  switch (task.kind) {
    case 'absent':
      return [{ state: 'failed', reason: 'program_not_found' }]
    case 'greedy':
      return [{ state: 'failed', reason: 'limit_memory', exitCode: 137 }]
    case 'polite':
      // Asked before its trap stood, it ends only when the grace is over.
      return [killed(3), killed(137), ...inLaunch]
    case 'unwanted':
    case 'lasting':
      return [killed(137), ...inLaunch]
    default:
      return [{ state: task.exitCode === 0 ? 'finished' : 'failed', reason: 'exited', exitCode: task.exitCode }]
  }
}
