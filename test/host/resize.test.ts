import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Resizes } from '../../agent/resizes.ts'
import type { TaskRunner } from '../../agent/task-runner.ts'
import { silentLog } from '../../base/log.ts'
import { builtinIsolators } from '../../isolators/builtin.ts'
import { readCgroupLayout } from '../../isolators/cgroup2/layout.ts'
import type { Isolator } from '../../isolators/isolator.ts'
import { completeMessage, type Init } from '../../proto/codec.ts'
import type { Resize } from '../../proto/gen/messages.ts'
import { scalar } from '../../proto/resources.ts'
import { noContainers } from '../support/bundle.ts'
import { type HostLife, taskHost } from '../support/task-host.ts'

const layout = readCgroupLayout()
const memory = layout.classic.get('memory')
const skip = noContainers || (memory === undefined && layout.mode !== 'v2' ? 'no memory controller' : false)
const mebibyte = 1024 * 1024
const never = (): AbortSignal => new AbortController().signal

const limitOf = (cgroupParent: string, { containerId }: TaskRunner): number => {
  const [mount, file] = memory === undefined ? [layout.unified ?? '', 'memory.max'] : [memory, 'memory.limit_in_bytes']
  return Number(readFileSync(join(mount, cgroupParent, containerId, file), 'utf8'))
}

function resizesOf(life: HostLife, cgroupParent: string, more: readonly Isolator[] = []): Resizes {
  const config = {
    layout,
    cgroupParent,
    sleep: async () => undefined,
    seccomp: { defaultFile: '', directory: '/none' },
    trash: { take: () => false }
  }
  return new Resizes(
    { ledger: life.ledger, runtime: life.runtime, isolators: [...builtinIsolators(config), ...more], log: silentLog },
    {
      ...{ runDir: '/none', sandboxesDir: '/none', hostname: 'h', allowedMounts: [], allowedDevices: [], allowUnconfined: false },
      missing: (name) => (name === 'limit.hugepages' ? 'the kernel has none' : undefined)
    }
  )
}

const to = (mem: number, more: Init<Resize> = {}): Resize =>
  completeMessage('Resize', { resources: [scalar('mem', mem)], ...more })
/** Holds 24 MiB of its own until it is killed. */
const hold = 'x=$(yes | head -c 24000000); test -n "$x" && echo > /sandbox/held; sleep 1000; test -n "$x"'
const holder = ['sh', '-c', hold]

async function running(life: HostLife, arguments_: readonly string[]): Promise<TaskRunner> {
  await life.launch({ taskId: 'a', resources: [scalar('mem', 128 * mebibyte)], process: { arguments: arguments_ } })
  await life.told('a', (s) => s.state === 'running')
  const runner = life.tasks.find('f', 'a')
  if (runner === undefined) throw new Error('the task is gone')
  return runner
}

t.test('other limits hold at once, and for the next agent and the next attempt too', { skip }, async (t) => {
  const host = taskHost(t)
  const life = await host.begin()
  const runner = await running(life, ['sleep', '1000'])
  t.equal(limitOf(host.cgroupParent, runner), 128 * mebibyte)
  const resizes = resizesOf(life, host.cgroupParent)
  const had = await resizes.apply(runner, to(64 * mebibyte), never())
  t.same(had.resources, [scalar('mem', 64 * mebibyte)])
  t.equal(limitOf(host.cgroupParent, runner), 64 * mebibyte)
  t.same(life.tasks.reports()[0]?.resources, [scalar('mem', 64 * mebibyte)], 'the master hears of it')
  await life.crash()
  const next = await host.begin()
  t.same(next.tasks.reports()[0]?.resources, [scalar('mem', 64 * mebibyte)])
  await next.kill('a')
})

t.test('below what the task uses it is refused, unless somebody insists', { skip }, async (t) => {
  const host = taskHost(t)
  const life = await host.begin()
  const runner = await running(life, holder)
  const { until } = await import('../support/until.ts')
  await until(() => existsSync(join(runner.sandboxDir, 'files/held')))
  const resizes = resizesOf(life, host.cgroupParent)
  await t.rejects(resizes.apply(runner, to(8 * mebibyte), never()), {
    code: 'conflict',
    message: /the task uses \d+ MiB of memory, more than the 8 MiB it is to have: .*--force/
  })
  t.equal(limitOf(host.cgroupParent, runner), 128 * mebibyte)
  t.same(life.tasks.reports()[0]?.resources, [scalar('mem', 128 * mebibyte)])
  await resizes.apply(runner, to(64 * mebibyte), never())
  t.equal(limitOf(host.cgroupParent, runner), 64 * mebibyte)
  await life.kill('a')
})

t.test('what cannot be is refused, and changes nothing', { skip }, async (t) => {
  const host = taskHost(t)
  const life = await host.begin()
  const runner = await running(life, ['sleep', '1000'])
  const refusing: Isolator = {
    name: 'refusing',
    capabilities: async () => [],
    prepare: async () => ({}),
    update: async ({ limits }) => {
      if (limits.memoryBytes === 96 * mebibyte) throw new Error('not that much')
    },
    cleanup: async () => undefined
  }
  const resizes = resizesOf(life, host.cgroupParent, [refusing])
  for (const [wanted, code, message] of [
    [to(mebibyte), 'invalid', /at least 4 MiB/],
    [
      to(64 * mebibyte, { limits: { hugePages: [{ pageBytes: 2 ** 21 }] } }),
      'unsupported',
      /no limit.hugepages: the kernel has none/
    ],
    [to(64 * mebibyte, { resources: [scalar('disk', 1)] }), 'unsupported', /disk limit of a running task/]
  ] as const)
    await t.rejects(resizes.apply(runner, wanted, never()), { code, message })
  await t.rejects(resizes.apply(runner, to(96 * mebibyte), never()), /not that much/)
  t.equal(limitOf(host.cgroupParent, runner), 128 * mebibyte)
  t.same(life.tasks.reports()[0]?.resources, [scalar('mem', 128 * mebibyte)])
  await life.kill('a')
  await life.told('a', (s) => s.state === 'killed')
  await t.rejects(resizes.apply(runner, to(64 * mebibyte), never()), { code: 'conflict', message: /does not run/ })
})
