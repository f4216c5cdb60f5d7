import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { systemClock } from '../../base/clock.ts'
import { silentLog } from '../../base/log.ts'
import { cgroupDirectories, readCgroupLayout } from '../../isolators/cgroup2/layout.ts'
import { deadlines, guarded } from '../../isolators/guard.ts'
import type { Isolator } from '../../isolators/isolator.ts'
import { loadIsolator } from '../../isolators/load.ts'
import type { TaskStatus } from '../../proto/gen/messages.ts'
import { noContainers as skip } from '../support/bundle.ts'
import { taskHost } from '../support/task-host.ts'
import { until } from '../support/until.ts'

const isFinal = (s: TaskStatus): boolean => ['finished', 'failed', 'killed'].includes(s.state)
const short = { ...deadlines, prepare: 50, isolate: 50, cleanup: 50 }
const hanging = <T>(): Promise<T> => new Promise(() => undefined)
const plain = { capabilities: async () => [], prepare: async () => ({}), cleanup: async () => undefined }
/** It shows its bad side only to who asks for it. */
const forWho =
  <A extends { readonly labels: Readonly<Record<string, string>> }, R>(label: string, bad: (request: A) => Promise<R>, good: R) =>
  (request: A): Promise<R> =>
    request.labels['bad'] === label ? bad(request) : Promise.resolve(good)

const rogue: Isolator = {
  ...plain,
  name: 'rogue',
  async prepare(request) {
    switch (request.labels['bad']) {
      case 'throws':
        throw new Error('I will not')
      case 'hangs':
        return hanging()
      case 'nonsense':
        return { mounts: 'all' } as never
      case 'twice':
        return { rootPath: '/elsewhere' }
      default:
        return {}
    }
  },
  isolate: forWho('isolate', () => Promise.reject(new Error('not this process')), undefined),
  watch: ({ labels }, signal) =>
    labels['bad'] === 'watch'
      ? Promise.resolve({ limit: 'other', message: 'enough' })
      : new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)))
}

const label = (value: string) => [{ key: 'bad', value }]
const leftOf = (cgroupParent: string): readonly string[] =>
  cgroupDirectories(readCgroupLayout(), cgroupParent).flatMap((path) =>
    existsSync(path) ? readdirSync(path).filter((name) => /^[0-9a-f]{32}$/.test(name)) : []
  )

t.test('a bad isolator ends its task with the cause, and nothing else', { skip }, async (t) => {
  const host = taskHost(t, { isolators: [guarded(rogue, () => undefined, short)] })
  const life = await host.begin()
  const rows = [
    ['throws', 'launch_failed', 'isolator rogue, prepare: I will not'],
    ['hangs', 'stage_timeout', 'isolator rogue did not answer prepare within 0.05 s'],
    ['nonsense', 'launch_failed', 'isolator rogue, prepare: must give a list for mounts'],
    [
      'twice',
      'launch_failed',
      'the isolators filesystem and rogue both set rootPath of the container: leave one of them out, or change it'
    ],
    ['isolate', 'launch_failed', 'isolator rogue, isolate: not this process'],
    ['watch', 'limit_other', 'isolator rogue: enough']
  ] as const
  for (const [bad] of rows) await life.launch({ taskId: bad, labels: label(bad), process: { arguments: ['sleep', '1000'] } })
  await life.launch({ taskId: 'good', process: { arguments: ['true'] } })
  for (const [bad, reason, message] of rows) t.match(await life.told(bad, isFinal), { state: 'failed', reason, message }, bad)
  t.match(await life.told('good', isFinal), { state: 'finished' })
  await until(() => life.tasks.list().every((task) => task.removed.aborted))
  t.ok(life.tasks.list().every((task) => task.clean))
  t.same(leftOf(host.cgroupParent), [])
})

t.test('a clean-up that fails is tried again, over the agent’s death, and holds up no other isolator', { skip }, async (t) => {
  let cleans = false
  let tries = 0
  const sloven: Isolator = {
    ...plain,
    name: 'sloven',
    prepare: async ({ journal }) => {
      await journal({ kind: 'other', id: '/thing' })
      return {}
    },
    cleanup: async ({ made }) => {
      tries += 1
      if (made.length > 0 && !cleans) throw new Error('it sticks')
    }
  }
  const host = taskHost(t, { isolators: [guarded(sloven, () => undefined, short)] })
  const life = await host.begin()
  await life.launch({ taskId: 'a', process: { arguments: ['true'] } })
  await life.told('a', isFinal)
  await until(() => life.tasks.list().every((task) => task.removed.aborted))
  t.equal(life.tasks.list()[0]?.clean, false)
  t.same(leftOf(host.cgroupParent), [], 'what is ours has gone')
  const others = [...life.ledger.view.tasks.values()].flatMap(({ objects }) => [...objects.keys()])
  t.ok(others.includes('other:sloven:/thing'), 'the ledger still owns what it left')
  await life.crash()
  const next = await host.begin()
  cleans = true
  await until(() => next.tasks.list().every((task) => task.removed.aborted && task.clean))
  t.ok(tries >= 2)
  t.same(
    [...next.ledger.view.tasks.values()].flatMap(({ objects }) => [...objects.keys()]),
    []
  )
})

t.test('the next agent hands a running container to each isolator again', { skip }, async (t) => {
  const seen: string[] = []
  const memory: Isolator = { ...plain, name: 'memory', recover: async ({ labels }) => void seen.push(labels['of'] ?? '') }
  const host = taskHost(t, { isolators: [guarded(memory, () => undefined)] })
  const life = await host.begin()
  await life.launch({ taskId: 'a', labels: [{ key: 'of', value: 'a' }], process: { arguments: ['sleep', '1000'] } })
  await life.told('a', (s) => s.state === 'running')
  t.same(seen, [])
  await life.crash()
  const next = await host.begin()
  await until(() => seen.length > 0)
  t.same(seen, ['a'])
  await next.kill('a')
  await next.told('a', isFinal)
})

/** As `npm install --prefix` lays it, in a folder that is nowhere near Hearth's own. */
function installed(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-modules-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

t.test('an isolator of an npm module gives containers what Hearth has not', { skip }, async (t) => {
  const folder = installed(t)
  const scratch = join(folder, 'scratch')
  const { cpSync, mkdirSync } = await import('node:fs')
  mkdirSync(join(folder, 'node_modules'))
  const source = fileURLToPath(new URL('../third-party/hearth-isolator-scratch', import.meta.url))
  cpSync(source, join(folder, 'node_modules/hearth-isolator-scratch'), { recursive: true })
  writeFileSync(join(folder, 'package.json'), '{}')
  process.env['SCRATCH_ROOT'] = scratch
  const isolator = guarded(await loadIsolator('hearth-isolator-scratch', folder, { sleep: systemClock.sleep }), () => undefined)
  const host = taskHost(t, { isolators: [isolator] })
  const life = await host.begin()
  const asks = { labels: [{ key: 'scratch.mib', value: '1' }] }
  const writes = (kib: number) => ({ arguments: ['sh', '-c', `dd if=/dev/zero of=$SCRATCH/x bs=1024 count=${kib}; sleep 1000`] })
  await life.launch({ taskId: 'much', ...asks, process: writes(2_048) })
  await life.launch({ taskId: 'wrong', labels: [{ key: 'scratch.mib', value: 'x' }], process: { arguments: ['true'] } })
  await life.launch({ taskId: 'none', process: { arguments: ['sh', '-c', 'test ! -e /scratch'] } })
  t.match(await life.told('wrong', isFinal), {
    reason: 'launch_failed',
    message: 'isolator scratch, prepare: the label scratch.mib must be a whole number of MiB, not "x"'
  })
  t.match(await life.told('none', isFinal), { state: 'finished' })
  t.match(await life.told('much', isFinal), {
    reason: 'limit_other',
    message: /isolator scratch: 2097152 bytes are in \/scratch/
  })
  await until(() => life.tasks.list().every((task) => task.removed.aborted))
  t.same(readdirSync(scratch), [])
  t.equal(silentLog.child({}), silentLog)
})
