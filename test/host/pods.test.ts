import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Init } from '../../proto/codec.ts'
import type { TaskDefinition, TaskStatus } from '../../proto/gen/messages.ts'
import { noContainers as skip } from '../support/bundle.ts'
import { type HostLife, type TaskHost, taskHost } from '../support/task-host.ts'
import { until } from '../support/until.ts'

type Part = Init<TaskDefinition>['part']

const killPolicy = { signal: '', graceMs: 0 }
const container = (taskId: string, part: Part, program: string, more: Init<TaskDefinition> = {}): Init<TaskDefinition> => ({
  ...{ taskId, part, killPolicy, process: { arguments: ['sh', '-c', program] } },
  ...more
})
const isFinal = (s: TaskStatus): boolean => ['finished', 'failed', 'killed'].includes(s.state)
const endOf = (life: HostLife, taskId: string): Promise<TaskStatus> => life.told(taskId, isFinal)
const logOf = (life: HostLife, taskId: string): string =>
  readFileSync(life.tasks.find('f', taskId)?.logPath ?? '', 'utf8')
    .split('\n')
    .map((line) => line.split(' ').slice(3).join(' '))
    .join('\n')

/** Nothing of the pod is left but what its tasks are known by; then not even that. */
async function leavesNothing(t: Test, host: TaskHost, life: HostLife, taskIds: readonly string[]): Promise<void> {
  await until(() => life.tasks.list().every((r) => r.removed.aborted))
  t.same(readdirSync(join(host.directory, 'run/c')), [])
  t.ok([...life.ledger.view.tasks.values()].every((task) => task.objects.size === 0))
  for (const taskId of taskIds) await life.tasks.forget({ epoch: 1, frameworkId: 'f', taskId })
  t.equal(life.ledger.view.tasks.size, 0, 'the sandbox container is forgotten with the last task')
  t.same(readdirSync(join(host.directory, 'agent/sandboxes')), [])
}

for (const runtime of ['runc', 'crun']) {
  t.test(`a pod over ${runtime} runs in order, shares what it should and ends as one`, { skip }, async (t) => {
    const host = taskHost(t)
    const life = await host.begin()
    const about = 'echo $(readlink /proc/self/ns/net) $(readlink /proc/self/ns/ipc) $(readlink /proc/self/ns/pid)'
    const step = (name: string): string => `${about} > /pod/${name}.ns; echo ${name} >> /pod/steps; `
    const { answers } = await life.launchPod([
      container('first', 'init', `${step('first')}echo word > /pod/word`, { runtime }),
      container('second', 'init', step('second'), { runtime }),
      container('side', 'sidecar', `${step('side')}touch /pod/listens; while :; do nc -l -p 80 -e cat; done`, {
        ...{
          runtime,
          probes: [{ purpose: 'readiness', command: { arguments: ['sh', '-c', 'test -e /pod/listens'] }, intervalMs: 20 }]
        }
      }),
      container('main', 'main', `${step('main')}cat /pod/word; until echo over the loopback | nc -w 2 127.0.0.1 80; do :; done`, {
        runtime
      })
    ])
    t.ok(answers.every((answer) => answer?.accepted))
    t.match(await endOf(life, 'main'), { state: 'finished', exitCode: 0 })
    t.match(await endOf(life, 'side'), {
      ...{ state: 'killed', reason: 'pod_ended', message: 'ended with its pod: all main containers have ended' }
    })
    t.match(await endOf(life, 'first'), { state: 'finished' })
    t.equal(logOf(life, 'main').trim(), 'word\nover the loopback')
    const shared = join(host.directory, 'agent/sandboxes', sandboxOf(life), 'pod/files')
    t.equal(readFileSync(join(shared, 'steps'), 'utf8'), 'first\nsecond\nside\nmain\n')
    const seen = ['first', 'second', 'side', 'main'].map((name) =>
      readFileSync(join(shared, `${name}.ns`), 'utf8')
        .trim()
        .split(' ')
    )
    t.equal(new Set(seen.map(([net]) => net)).size, 1, 'one network')
    t.equal(new Set(seen.map(([, ipc]) => ipc)).size, 1, 'one IPC namespace')
    t.equal(new Set(seen.slice(2).map(([, , pid]) => pid)).size, 2, 'processes of their own')
    t.same(
      life.tasks
        .reports()
        .map((r) => r.taskId)
        .sort(),
      ['first', 'main', 'second', 'side'],
      'no master hears of the sandbox'
    )
    await leavesNothing(t, host, life, ['first', 'second', 'side', 'main'])
  })
}

const sandboxOf = (life: HostLife): string => [...life.ledger.view.tasks.values()][0]?.row.pod?.sandboxId ?? ''

t.test('one main container that fails takes the others with it, and each tells why', { skip }, async (t) => {
  const host = taskHost(t)
  const life = await host.begin()
  await life.launchPod([
    container('bad', 'main', 'until test -e /pod/go; do :; done; exit 3'),
    container('good', 'main', 'touch /pod/go; sleep 1000'),
    container('side', 'sidecar', 'sleep 1000')
  ])
  t.match(await endOf(life, 'bad'), { state: 'failed', reason: 'exited', exitCode: 3 })
  const message = 'ended with its pod: bad failed: ended with exit code 3'
  t.match(await endOf(life, 'good'), { state: 'killed', reason: 'pod_ended', message })
  t.match(await endOf(life, 'side'), { state: 'killed', reason: 'pod_ended', message })
  await leavesNothing(t, host, life, ['bad', 'good', 'side'])
})

t.test('an init container that fails ends the pod before anything else of it ran', { skip }, async (t) => {
  const host = taskHost(t)
  const life = await host.begin()
  await life.launchPod([
    container('main', 'main', 'true'),
    container('first', 'init', 'exit 7'),
    container('side', 'sidecar', 'true')
  ])
  const message = 'ended with its pod: the init container first failed: ended with exit code 7'
  t.match(await endOf(life, 'main'), { state: 'killed', reason: 'pod_ended', message, startedAtMs: 0 })
  t.match(await endOf(life, 'side'), { state: 'killed', reason: 'pod_ended', message, startedAtMs: 0 })
  await leavesNothing(t, host, life, ['main', 'first', 'side'])
})

t.test('a side-car may end before the main ones do, and who asks for the end of one ends them all', { skip }, async (t) => {
  const host = taskHost(t)
  const life = await host.begin()
  await life.launchPod([
    container('side', 'sidecar', 'exit 4'),
    container('a', 'main', 'sleep 1000'),
    container('b', 'main', 'sleep 1000')
  ])
  await life.told('a', (s) => s.state === 'running')
  await life.told('b', (s) => s.state === 'running')
  t.match(await endOf(life, 'side'), { state: 'failed', exitCode: 4 })
  await life.kill('a')
  t.match(await endOf(life, 'a'), { state: 'killed', reason: 'kill_requested' })
  t.match(await endOf(life, 'b'), {
    state: 'killed',
    reason: 'pod_ended',
    message: 'ended with its pod: the end of a was asked for'
  })
  await leavesNothing(t, host, life, ['side', 'a', 'b'])
})

t.test(
  'with shared processes one container sees and ends those of another, and orphans leave no zombies',
  { skip },
  async (t) => {
    const host = taskHost(t)
    const life = await host.begin()
    await life.launchPod(
      [
        container('serves', 'main', '(sleep 0 &) ; echo $$ > /pod/pid; trap "exit 0" TERM; while :; do sleep 1; done'),
        container('ends', 'main', 'until test -s /pod/pid; do :; done; kill $(cat /pod/pid)')
      ],
      { shareProcesses: true }
    )
    t.match(await endOf(life, 'serves'), { state: 'finished', exitCode: 0 })
    t.match(await endOf(life, 'ends'), { state: 'finished', exitCode: 0 })
    await leavesNothing(t, host, life, ['serves', 'ends'])
  }
)

t.test('an agent that comes back finds every container of its pods, those that wait for their turn too', { skip }, async (t) => {
  const host = taskHost(t)
  let life = await host.begin()
  await life.launchPod([
    container('first', 'init', 'until test -e /pod/go; do :; done'),
    container('side', 'sidecar', 'sleep 1000'),
    container('main', 'main', 'until test -e /pod/end; do :; done')
  ])
  await life.told('first', (s) => s.state === 'running')
  const shared = join(host.directory, 'agent/sandboxes', sandboxOf(life), 'pod/files')
  await life.crash()
  life = await host.begin()
  t.equal(life.statuses('main').length, 0)
  writeFileSync(join(shared, 'go'), '')
  await life.told('main', (s) => s.state === 'running')
  t.equal(life.tasks.running, 3, 'the sandbox, the side-car and the main container')
  await life.crash()
  writeFileSync(join(shared, 'end'), '')
  life = await host.begin()
  t.match(await endOf(life, 'main'), { state: 'finished' })
  t.match(await endOf(life, 'side'), { state: 'killed', reason: 'pod_ended' })
  await leavesNothing(t, host, life, ['first', 'side', 'main'])
})

t.test('what can be no pod is refused whole', { skip }, async (t) => {
  const life = await taskHost(t).begin()
  const refused = async (containers: readonly Init<TaskDefinition>[], message: RegExp): Promise<void> => {
    const { answers } = await life.launchPod(containers)
    for (const answer of answers) t.match(answer, { accepted: false, message })
  }
  await refused([container('a', 'main', 'true'), container('a', 'main', 'true')], /two containers of the pod are called a/)
  await refused([container('a', 'init', 'true'), container('b', 'sidecar', 'true')], /needs a main container/)
  await refused([container('a', 'main', 'true'), container('b', 'main', 'true', { runtime: 'docker' })], /Docker runs no pods/)
  await refused(
    [container('a', 'main', 'true'), container('b', 'main', 'true', { network: { mode: 'host' } })],
    /a pod has one network/
  )
  t.equal(life.ledger.view.tasks.size, 0)
})
