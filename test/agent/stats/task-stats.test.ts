import { mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type StatsTask, TaskStatistics } from '../../../agent/stats/task-stats.ts'
import { Fault } from '../../../base/fault.ts'
import type { CgroupLayout } from '../../../isolators/cgroup2/layout.ts'
import type { Isolator, IsolatorRequest } from '../../../isolators/isolator.ts'

const never = (): AbortSignal => new AbortController().signal

/** A cgroup tree of plain files, and a clock that moves by what somebody sleeps. */
function tree(t: Test) {
  const mount = mkdtempSync(join(tmpdir(), 'hearth-stats-'))
  t.teardown(() => rmSync(mount, { recursive: true, force: true }))
  let nowMs = 0
  const pass = (ms: number): void => {
    nowMs += ms
  }
  const clock = { monotonicMs: () => nowMs, wallMs: () => 0, sleep: async (ms: number) => pass(ms) }
  const layout: CgroupLayout = { mode: 'v2', unified: mount, classic: new Map() }
  const put = (id: string, usageUs: number, memory: string, pressure = '0.00'): void => {
    mkdirSync(join(mount, id), { recursive: true })
    writeFileSync(join(mount, id, 'cpu.stat'), `usage_usec ${usageUs}\nuser_usec 1\n`)
    writeFileSync(join(mount, id, 'memory.current'), `${memory}\n`)
    writeFileSync(join(mount, id, 'pids.current'), '3\n')
    for (const what of ['cpu', 'memory'])
      writeFileSync(
        join(mount, id, `${what}.pressure`),
        `some avg10=${pressure} avg60=9.99 avg300=9.99 total=5\nfull avg10=0.00\n`
      )
  }
  const open = (): readonly string[] =>
    readdirSync('/proc/self/fd').flatMap((fd) => {
      try {
        const to = readlinkSync(`/proc/self/fd/${fd}`)
        return to.startsWith(mount) ? [to.slice(mount.length + 1)] : []
      } catch {
        return [] // the one that was read with
      }
    })
  const task = (containerId: string): StatsTask => ({
    ...{ frameworkId: 'f', taskId: containerId, name: containerId, state: 'running' },
    ...{ containerId, cgroupPath: `/${containerId}` }
  })
  return { layout, clock, put, open, task, pass }
}

t.test('usage and pressure come out of files that stay open', async (t) => {
  const { layout, clock, put, open, task, pass } = tree(t)
  put('a', 1_000_000, '4096', '12.34')
  const statistics = new TaskStatistics({ layout, clock, isolators: [] })
  const first = await statistics.sample([task('a')], never())
  t.match(first, [
    {
      taskId: 'a',
      cpuUs: 1_000_000,
      cpuPercent: 0,
      memoryBytes: 4_096,
      pids: 3,
      pressure: { cpu: 12.34, memory: 12.34, io: null }
    }
  ])
  t.equal(open().length, 5)
  put('a', 1_500_000, '8192')
  pass(1_000)
  t.match(await statistics.sample([task('a')], never()), [{ cpuPercent: 50, memoryBytes: 8_192, pressure: { cpu: 0 } }])
  t.equal(open().length, 5, 'they are the same')
  statistics.forgetOthers(new Set())
  t.same(open(), [])
})

t.test('a container that is not there yet has nulls, and figures once it is', async (t) => {
  const { layout, clock, put, task } = tree(t)
  const statistics = new TaskStatistics({ layout, clock, isolators: [] })
  t.match(await statistics.sample([task('b')], never()), [{ cpuUs: null, cpuPercent: null, memoryBytes: null, pids: null }])
  put('b', 7, '1')
  t.match(await statistics.sample([task('b')], never()), [{ cpuUs: 7, memoryBytes: 1 }])
  statistics.forgetOthers(new Set())
})

t.test('each isolator tells what it counts, and one that fails is left out', async (t) => {
  const { layout, clock, put, task } = tree(t)
  put('c', 0, '0')
  const counting = (name: string, usage: Isolator['usage']): Isolator => ({
    ...{ name, capabilities: async () => [], prepare: async () => ({}), cleanup: async () => undefined },
    ...(usage && { usage })
  })
  const isolators = [
    counting('disk', async () => ({ diskBytes: 5 })),
    counting('quiet', undefined),
    counting('broken', () => Promise.reject(new Fault('timeout', 'too late')))
  ]
  const statistics = new TaskStatistics({ layout, clock, isolators })
  const limits = { milliCpu: 1, memoryBytes: 2, diskBytes: 3, pidsMax: 4 }
  t.match(await statistics.details(task('c'), { limits } as IsolatorRequest, never()), {
    taskId: 'c',
    limits,
    usage: { disk: { diskBytes: 5 } }
  })
  statistics.forgetOthers(new Set())
})
