import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Init } from '../../proto/codec.ts'
import type { RestartPolicy, TaskStatus } from '../../proto/gen/messages.ts'
import { noContainers as skip } from '../support/bundle.ts'
import { type HostLife, type TaskHost, taskHost } from '../support/task-host.ts'
import { until } from '../support/until.ts'

const task = (taskId: string, program: string, restart: Init<RestartPolicy>) => ({
  taskId,
  process: { arguments: ['sh', '-c', program] },
  restart
})
const stoppable = 'trap "exit 0" TERM; sleep 1000 & wait'
const quick = { backoffMs: 20, maxBackoffMs: 50 }
const slow = { backoffMs: 3_600_000 }
const isFinal = (s: TaskStatus): boolean => ['finished', 'failed', 'killed'].includes(s.state) && !s.willRestart
const told = (s: TaskStatus): string => `${s.attempt} ${s.state}${s.willRestart ? ', again' : ''}`

/** Ends what runs as a power cut does: no exit code is kept, and nothing boot-bound. */
async function cutPower(host: TaskHost, life: HostLife): Promise<void> {
  const { runtime, ledger } = life
  await life.crash()
  const monitors = readdirSync(join(host.directory, 'run/c')).flatMap((id) => {
    const path = join(host.directory, 'run/c', id, 'conmon.pid')
    return existsSync(path) ? [Number(readFileSync(path, 'utf8'))] : []
  })
  for (const id of ledger.view.tasks.keys()) await runtime.kill(id)
  await until(() => monitors.every((pid) => !existsSync(`/proc/${pid}`)))
  rmSync(join(host.directory, 'run'), { recursive: true })
}

t.test('a failing task is started again as often as its policy says, and only the last end is final', { skip }, async (t) => {
  const host = taskHost(t)
  const life = await host.begin()
  await life.launch(task('a', 'echo $HEARTH_CONTAINER_ID; exit 3', { mode: 'on_failure', maxAttempts: 4, ...quick }))
  const last = await life.told('a', isFinal)
  t.match(last, { attempt: 4, state: 'failed', reason: 'exited', exitCode: 3 })
  t.same(
    last.earlierAttempts.map((a) => [a.attempt, a.state, a.exitCode, a.startedAtMs > 0, a.endedAtMs >= a.startedAtMs]),
    [1, 2, 3].map((n) => [n, 'failed', 3, true, true])
  )
  const statuses = life.statuses('a')
  const assigned = statuses.map((s) => s.assignedContainerId)
  t.equal(new Set(assigned).size, 1, 'every status names the same assignment')
  t.equal(new Set(statuses.map((s) => s.containerId)).size, 4, 'each attempt has a container of its own')
  t.same(statuses.map(told).slice(-4), ['3 running', '3 failed, again', '4 running', '4 failed'])
  await until(() => life.tasks.list().every((r) => r.removed.aborted))
  t.same(
    life.tasks.reports().map((r) => [r.attempt, r.containerId, r.state]),
    [[1, assigned[0], 'failed']],
    'the master is told of one task'
  )
  t.match(readFileSync(life.tasks.find('f', 'a', 3)?.logPath ?? '', 'utf8'), /[0-9a-f]{32}/, 'older logs are kept')
  t.equal(readdirSync(join(host.directory, 'agent/sandboxes')).length, 3, 'but only so many')
  await life.tasks.forget({ epoch: 1, frameworkId: 'f', taskId: 'a' })
  t.equal(life.ledger.view.tasks.size, 0)
  t.same(readdirSync(join(host.directory, 'agent/sandboxes')), [], 'all attempts are forgotten together')
})

t.test('success ends a task that is restarted on failure, and not one that always is', { skip }, async (t) => {
  const host = taskHost(t)
  const life = await host.begin()
  await life.launch(task('a', 'true', { mode: 'on_failure', ...quick }))
  await life.launch(task('b', 'true', { mode: 'always', maxAttempts: 2, ...quick }))
  await life.launch(task('c', 'exit 1', { mode: 'never' }))
  t.match(await life.told('a', isFinal), { attempt: 1, state: 'finished' })
  t.match(await life.told('b', isFinal), { attempt: 2, state: 'finished', earlierAttempts: [{ state: 'finished', exitCode: 0 }] })
  t.match(await life.told('c', isFinal), { attempt: 1, state: 'failed', earlierAttempts: [] })
})

t.test('attempts that have ended leave nothing in the agent’s memory to wait for', { skip }, async (t) => {
  const warnings: Error[] = []
  const hear = (warning: Error): number => warnings.push(warning)
  process.on('warning', hear)
  t.teardown(() => process.off('warning', hear))
  const life = await taskHost(t).begin()
  // Node warns of the eleventh that listens to the same signal.
  await life.launch(task('a', 'exit 1', { mode: 'always', maxAttempts: 14, backoffMs: 1, maxBackoffMs: 1 }))
  await life.told('a', isFinal)
  t.same(warnings, [])
})

t.test('a program that is not there is not tried again', { skip }, async (t) => {
  const life = await taskHost(t).begin()
  await life.launch({ taskId: 'a', process: { arguments: ['nowhere'] }, restart: { mode: 'always', ...quick } })
  t.match(await life.told('a', isFinal), { attempt: 1, state: 'failed', reason: 'program_not_found' })
})

t.test('a kill in the back-off ends the task, and no attempt follows, whatever becomes of the agent', { skip }, async (t) => {
  const host = taskHost(t)
  const life = await host.begin()
  await life.launch(task('a', 'exit 1', { mode: 'always', ...slow }))
  await life.told('a', (s) => s.willRestart)
  await until(() => life.tasks.reports()[0]?.state === 'starting')
  t.match(life.tasks.reports(), [{ attempt: 1, latest: { attempt: 1, willRestart: true } }])
  await life.kill('a')
  t.match(await life.told('a', isFinal), { attempt: 2, state: 'killed', reason: 'killed_during_launch' })
  await life.crash()
  const next = await host.begin()
  await until(() => next.tasks.list().every((r) => r.removed.aborted))
  t.same(next.statuses('a').map(told), ['1 running', '1 failed, again', '2 killed'])
})

t.test('the back-off goes on over the agent’s restart; the counter too', { skip }, async (t) => {
  const host = taskHost(t)
  const life = await host.begin()
  await life.launch(task('a', 'exit 1', { mode: 'on_failure', maxAttempts: 3, backoffMs: 300 }))
  await life.told('a', (s) => s.willRestart)
  await until(() => life.ledger.view.tasks.size === 2)
  await life.crash()
  const next = await host.begin()
  t.match(await next.told('a', isFinal), { attempt: 3, earlierAttempts: [{ attempt: 1 }, { attempt: 2 }] })
  t.same(next.statuses('a').map(told), ['1 running', '1 failed, again', '2 running', '2 failed, again', '3 running', '3 failed'])
})

t.test('an end that only the disk has seen is followed by the next attempt all the same', { skip }, async (t) => {
  const host = taskHost(t)
  const life = await host.begin()
  await life.launch(task('a', 'exit 1', { mode: 'always', ...slow }))
  await life.told('a', (s) => s.willRestart)
  await until(() => life.ledger.view.tasks.size === 2)
  // As if the agent had died between the two records.
  const second = [...life.ledger.view.tasks.keys()].at(-1) ?? ''
  await life.ledger.append({ forget: { containerId: second } }, 'disk')
  await life.crash()
  const next = await host.begin()
  await until(() => next.ledger.view.tasks.size === 2)
  t.match([...next.ledger.view.tasks.values()].at(-1)?.row, { attempt: 2, backoffMs: 3_600_000, group: { frameworkId: 'f' } })
})

t.test(
  'after a reboot without a master the agent starts what the policies say, and tells the rest as lost',
  { skip },
  async (t) => {
    const host = taskHost(t)
    const life = await host.begin('boot-1')
    const modes = { a: 'always', f: 'on_failure', n: 'never' } as const
    for (const [id, mode] of Object.entries(modes)) await life.launch(task(id, 'sleep 1000', { mode, ...quick }))
    for (const id of Object.keys(modes)) await life.told(id, (s) => s.state === 'running')
    await life.launch(task('done', 'true', { mode: 'on_failure', ...quick }))
    await life.told('done', isFinal)
    await cutPower(host, life)

    const next = await host.begin('boot-2')
    for (const id of ['a', 'f']) {
      const running = await next.told(id, (s) => s.attempt === 2 && s.state === 'running')
      t.match(running.earlierAttempts, [{ attempt: 1, state: 'failed', reason: 'node_rebooted' }], id)
    }
    t.match(await next.told('n', isFinal), { attempt: 1, reason: 'node_rebooted' })
    t.same(next.statuses('n').map(told), ['1 running', '1 failed'])
    t.same(next.statuses('done').map(told), ['1 running', '1 finished'], 'what had ended stays ended')
    t.match(
      [...next.ledger.view.tasks.values()].find((task) => task.row.attempt === 2)?.row,
      { restarts: 0 },
      'it cost no attempt'
    )
  }
)

t.test('all workloads stopped: what is restarted comes back with the next agent, the rest has ended', { skip }, async (t) => {
  const host = taskHost(t)
  const life = await host.begin()
  await life.launch(task('a', stoppable, { mode: 'on_failure', ...quick }))
  await life.launch(task('n', stoppable, { mode: 'never' }))
  await life.launch(task('waits', 'exit 1', { mode: 'always', ...slow }))
  for (const id of ['a', 'n']) await life.told(id, (s) => s.state === 'running')
  await life.told('waits', (s) => s.willRestart)
  await life.tasks.stopAll(AbortSignal.timeout(20_000))
  await life.tasks.idle()
  t.match(await life.told('n', isFinal), { state: 'killed', reason: 'kill_requested' })
  t.match(await life.told('a', (s) => s.willRestart), { state: 'killed', reason: 'node_stopped', attempt: 1 })
  await life.crash()
  const next = await host.begin()
  t.match(await next.told('a', (s) => s.attempt === 2 && s.state === 'running'), {
    earlierAttempts: [{ reason: 'node_stopped' }]
  })
  t.equal(next.tasks.find('f', 'waits', 2)?.waits, true)
  t.same(next.statuses('n').filter(isFinal).length, 1)
})
