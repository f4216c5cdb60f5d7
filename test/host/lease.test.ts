import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { decodeLease } from '../../agent/lease/lease-file.ts'
import { endsAtMs } from '../../agent/lease/terms.ts'
import { readCgroupLayout } from '../../isolators/cgroup2/layout.ts'
import { pidsIn } from '../../isolators/cgroup2/population.ts'
import { readProcess } from '../../isolators/runtime/oci/process-table.ts'
import type { TaskStatus } from '../../proto/gen/messages.ts'
import { noContainers as skip } from '../support/bundle.ts'
import { Grantor, granted, once, refused, silent } from '../support/grantor.ts'
import { type TaskHost, taskHost } from '../support/task-host.ts'
import { until } from '../support/until.ts'

// Each waits for a lease to run out or to be renewed.
t.jobs = 4

const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
const lengthMs = 3_000
const task = (taskId: string, more = {}) => ({
  taskId,
  process: { arguments: ['sh', '-c', 'trap "exit 7" TERM; sleep 1000 & wait'] },
  lease: { lengthMs },
  ...more
})
const always = { restart: { mode: 'always' as const, backoffMs: 20, maxBackoffMs: 50 } }
const isOver = (s: TaskStatus): boolean => ['finished', 'failed', 'killed'].includes(s.state) && !s.willRestart
const isRunning = (s: TaskStatus): boolean => s.state === 'running'

const leasesOf = (host: TaskHost): string => join(host.directory, 'run/leases')
const read = (host: TaskHost, name: string): string => {
  const path = join(leasesOf(host), name)
  return existsSync(path) ? readFileSync(path, 'utf8') : ''
}
const watchdogOf = (host: TaskHost): number => Number(read(host, 'watchdog').split(' ')[0])
const isAlive = (pid: number): boolean => readProcess(pid) !== undefined
const inside = (host: TaskHost, containerId: string): number =>
  pidsIn(readCgroupLayout(), join(host.cgroupParent, containerId)).length

t.test('a task with a lease runs as long as its lease is renewed', { skip }, async (t) => {
  const host = taskHost(t)
  const life = await host.begin(bootId)
  const grantor = new Grantor()
  for (const id of ['kept', 'restarted']) grantor.say(id, granted)
  grantor.say('refused', refused('two of it would harm each other'))
  grantor.say('forsaken', once(granted, silent))
  grantor.say('called back', granted)
  await life.launch(task('kept'))
  await life.launch(task('refused', always))
  await life.launch(task('forsaken', always))
  await life.launch(task('called back', always))
  await life.launch({ ...task('restarted', always), process: { arguments: ['sleep', '1'] } })
  t.same(life.statuses('kept'), [], 'without a grant nothing begins')
  grantor.serve(life.leases)
  const kept = await life.told('kept', isRunning)

  const no = await life.told('refused', isOver)
  t.match(no, {
    attempt: 1,
    state: 'failed',
    reason: 'lease_refused',
    message: /two of it would harm each other/,
    startedAtMs: 0
  })
  await life.told('called back', isRunning)
  grantor.say('called back', refused('it runs elsewhere'))
  const back = await life.told('called back', isOver)
  t.match(
    back,
    { attempt: 1, reason: 'lease_expired', message: 'its lease was taken back: it runs elsewhere', exitCode: 7 },
    'it has time'
  )
  const forsaken = await life.told('forsaken', isOver)
  t.match(forsaken, { attempt: 1, state: 'failed', reason: 'lease_expired', message: /no master renewed it for 3 s/, signal: 9 })
  t.match(
    await life.told('restarted', (s) => s.attempt === 2 && isRunning(s)),
    { willRestart: false },
    'attempts share the lease'
  )

  await until(() => grantor.count('kept') >= 5)
  t.equal(life.statuses('kept').at(-1)?.state, 'running', 'the other goes on')
  const pid = watchdogOf(host)
  process.kill(pid, 'SIGKILL')
  await until(() => watchdogOf(host) !== pid && isAlive(watchdogOf(host)))
  t.pass('an agent that finds the watchdog gone puts up another')
  const watchdogs = [pid, watchdogOf(host)]
  for (const id of ['kept', 'restarted']) await life.kill(id)
  await life.told('kept', isOver)
  await until(() => life.tasks.list().every((r) => r.removed.aborted))
  await life.leases.stop()
  t.same(readdirSync(leasesOf(host)), [], 'nothing is left of any lease')
  await until(() => watchdogs.every((pid) => !isAlive(pid)))
  t.equal(inside(host, kept.containerId), 0)
})

t.test('without an agent a lease ends its task in time, and the next agent says so', { skip }, async (t) => {
  const host = taskHost(t)
  const grantor = new Grantor()
  const first = await host.begin(bootId)
  grantor.say('a', granted)
  grantor.serve(first.leases)
  await first.launch(task('a', always))
  const { containerId } = await first.told('a', isRunning)
  const watchdog = watchdogOf(host)
  await until(() => grantor.count('a') > 1)
  await first.crash()
  t.ok(inside(host, containerId) > 0, 'the agent is gone, the task is not')
  await until(() => read(host, `${containerId}.fired`).trim().includes(' '))
  const [, emptyMs] = read(host, `${containerId}.fired`).split(' ').map(Number)
  t.equal(inside(host, containerId), 0)
  const lease = decodeLease(read(host, containerId))
  t.ok(lease !== undefined && (emptyMs ?? Number.NaN) <= endsAtMs(lease.term), 'seen empty before the promise ends')

  const second = await host.begin(bootId)
  const asked = grantor.count('a')
  grantor.serve(second.leases)
  const end = await second.told('a', isOver)
  t.match(end, { attempt: 1, state: 'failed', reason: 'lease_expired', message: /its lease ran out/ })
  await until(() => second.tasks.list().every((r) => r.removed.aborted))
  t.equal(grantor.count('a'), asked, 'nobody asked for another lease')
  await until(() => !isAlive(watchdog))
})

t.test('the next agent takes over lease and watchdog in time', { skip }, async (t) => {
  const host = taskHost(t)
  const grantor = new Grantor()
  grantor.say('a', granted)
  const first = await host.begin(bootId)
  grantor.serve(first.leases)
  await first.launch(task('a'))
  const { containerId } = await first.told('a', isRunning)
  const watchdog = watchdogOf(host)
  await first.crash()
  const second = await host.begin(bootId)
  grantor.serve(second.leases)
  const asked = grantor.count('a')
  await until(() => grantor.count('a') > asked + 3)
  t.equal(watchdogOf(host), watchdog, 'the same one')
  t.ok(inside(host, containerId) > 0, 'and the task lives')
  t.equal(second.statuses('a').at(-1)?.state, 'running')
})

t.test('no lease outlives a boot, and a file that no longer proves one is none', { skip }, async (t) => {
  const host = taskHost(t)
  const grantor = new Grantor()
  grantor.say('a', granted)
  const first = await host.begin(bootId)
  grantor.serve(first.leases)
  await first.launch(task('a', always))
  const { containerId } = await first.told('a', isRunning)
  await first.crash()
  const monitor = Number(readFileSync(join(host.directory, 'run/c', containerId, 'conmon.pid'), 'utf8'))
  await first.runtime.kill(containerId)
  await until(() => !isAlive(monitor))
  for (const part of ['c', 'exits', 'oci']) rmSync(join(host.directory, 'run', part), { recursive: true })
  const second = await host.begin('another boot')
  const end = await second.told('a', (s) => s.containerId === containerId && s.willRestart)
  t.match(end, { reason: 'node_rebooted' })
  await until(() => inside(host, containerId) === 0)
  const late = second.tasks.find('f', 'a', 2)
  t.equal(late?.state, 'preparing', 'the next attempt waits for a grant')
  grantor.say('a', refused('it runs elsewhere by now'))
  grantor.serve(second.leases)
  t.match(await second.told('a', isOver), { attempt: 2, reason: 'lease_refused' })
})
