import t from 'tap'
import { completeMessage, type Init } from '../../proto/codec.ts'
import type { TaskDefinition, TaskStatus } from '../../proto/gen/messages.ts'
import { scalar } from '../../proto/resources.ts'
import { isTerminal } from '../../proto/task-state.ts'
import { noContainers as skip } from '../support/bundle.ts'
import { type HostLife, taskHost } from '../support/task-host.ts'
import { until } from '../support/until.ts'

// An agent that is killed when its task has ended, before it could write down how: the next one has to tell the same.

const mebibyte = 1024 * 1024
const restart = { mode: 'on_failure' as const, maxAttempts: 2, backoffMs: 10 }
const isEnd = ({ state }: TaskStatus): boolean => state !== 'unspecified_state' && isTerminal(state)

/** Its agent gets no end of the task onto the disk. Resolves when it has tried to. */
function withholdsEnd({ outbox }: HostLife, taskId: string): Promise<void> {
  const report = outbox.report.bind(outbox)
  return new Promise((tried) => {
    outbox.report = (status) => {
      if (status.taskId !== taskId || !isEnd(completeMessage('TaskStatus', status))) return report(status)
      tried()
      return new Promise(() => undefined)
    }
  })
}

/** As long as it takes to make and remove a container: what the agent does after an end is done too. */
async function oneTaskLater(life: HostLife): Promise<void> {
  await life.launch({ taskId: 'later', process: { arguments: ['true'] } })
  await until(() => life.tasks.find('f', 'later')?.removed.aborted ?? false)
}

const greedy: Init<TaskDefinition> = {
  taskId: 'a',
  process: { arguments: ['sh', '-c', 'exec tail /dev/zero'] },
  resources: [scalar('mem', 16 * mebibyte)]
}
const unwell: Init<TaskDefinition> = {
  taskId: 'a',
  killPolicy: { signal: '', graceMs: 0 },
  process: { arguments: ['sleep', '1000'] },
  probes: [{ purpose: 'liveness', failures: 1, intervalMs: 20, timeoutMs: 10_000, command: { arguments: ['false'] } }]
}

t.test('that it ran out of memory is told by the next agent too', { skip }, async (t) => {
  const host = taskHost(t)
  const life = await host.begin()
  const tried = withholdsEnd(life, 'a')
  await life.launch(greedy)
  await tried
  await oneTaskLater(life)
  await life.crash()
  const next = await host.begin()
  t.match(await next.told('a', isEnd), { state: 'failed', reason: 'limit_memory', exitCode: 137, outOfMemory: true })
})

t.test('that a probe ended it is told by the next agent too', { skip }, async (t) => {
  const host = taskHost(t)
  const life = await host.begin()
  const tried = withholdsEnd(life, 'a')
  await life.launch({ ...unwell, restart })
  await tried
  await life.crash()
  const next = await host.begin()
  t.match(await next.told('a', isEnd), {
    attempt: 1,
    reason: 'probe_failed',
    message: /liveness probe failed/,
    willRestart: true
  })
})

t.test('an end that a probe decided goes on under the next agent', { skip }, async (t) => {
  const host = taskHost(t)
  const life = await host.begin()
  const deaf = ['sh', '-c', 'trap "" TERM; while :; do sleep 0.05; done']
  const failsOnce = { arguments: ['sh', '-c', 'test -e /asked || { touch /asked; exit 1; }'] }
  const probe = { purpose: 'liveness' as const, failures: 1, intervalMs: 20, timeoutMs: 10_000, command: failsOnce }
  const killPolicy = { signal: '', graceMs: 3_600_000 }
  await life.launch({ taskId: 'a', process: { arguments: deaf }, killPolicy, probes: [probe] })
  await until(() => life.tasks.find('f', 'a')?.state === 'stopping')
  await life.crash()
  const next = await host.begin()
  await until(() => next.tasks.find('f', 'a')?.state === 'stopping')
  await next.kill('a')
  t.match(await next.told('a', isEnd), { state: 'failed', reason: 'probe_failed', signal: 9 }, 'who was first is told')
})

t.test('that its files took too much room is told by the next agent too', { skip }, async (t) => {
  const host = taskHost(t, { isolatorPauseMs: 20 })
  const life = await host.begin()
  const tried = withholdsEnd(life, 'a')
  await life.launch({
    taskId: 'a',
    process: { arguments: ['sh', '-c', 'head -c 2000000 /dev/zero > /big; sleep 1000'] },
    resources: [scalar('disk', mebibyte)]
  })
  await tried
  await life.crash()
  const next = await host.begin()
  t.match(await next.told('a', isEnd), { state: 'failed', reason: 'limit_disk', message: /more than its disk limit/ })
})

t.test('that all workloads were stopped costs no attempt under the next agent either', { skip }, async (t) => {
  const host = taskHost(t)
  const life = await host.begin()
  await life.launch({ taskId: 'a', process: { arguments: ['sh', '-c', 'trap "exit 1" TERM; sleep 1000 & wait'] }, restart })
  await life.told('a', (s) => s.state === 'running')
  const tried = withholdsEnd(life, 'a')
  void life.tasks.stopAll(AbortSignal.timeout(60_000)).catch(() => undefined) // nobody waits for it after the crash
  await tried
  await life.crash()
  const next = await host.begin()
  t.match(await next.told('a', isEnd), { state: 'killed', reason: 'node_stopped', willRestart: true })
  t.match(await next.told('a', (s) => s.attempt === 2 && s.state === 'running'), {
    earlierAttempts: [{ reason: 'node_stopped' }]
  })
  t.equal([...next.ledger.view.tasks.values()].at(-1)?.row.restarts, 0)
})
