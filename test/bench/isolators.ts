import { randomBytes } from 'node:crypto'
import { mkdirSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'
import { TaskStatistics } from '../../agent/stats/task-stats.ts'
import { systemClock } from '../../base/clock.ts'
import { builtinIsolators } from '../../isolators/builtin.ts'
import { cgroupDirectories, readCgroupLayout } from '../../isolators/cgroup2/layout.ts'
import { guarded } from '../../isolators/guard.ts'
import type { Isolator, IsolatorRequest } from '../../isolators/isolator.ts'
import { loadIsolator } from '../../isolators/load.ts'
import { usualWalls } from '../../isolators/walls.ts'
import type { Bench, Outcome } from './bench.ts'
import { judged, type Row } from './report.ts'
import { shiftedView } from './shifted-view.ts'
import { rounded, spreadOf } from './statistics.ts'

const { sleep } = systemClock
const seconds = 10

/**
 * What each isolator takes to prepare and to clean up one container, `n` times, without runtime and agent around it; and what one
 * sample a second of the usage and pressure of `n` containers costs.
 */
export async function isolators(bench: Bench): Promise<Outcome> {
  const layout = readCgroupLayout()
  const cgroupParent = `/hearth-bench-${randomBytes(4).toString('hex')}`
  bench.cleanup.add(cgroupParent, () => removeAll(cgroupDirectories(layout, cgroupParent)))
  const config = {
    layout,
    cgroupParent,
    sleep,
    trash: { take: () => false },
    seccomp: { defaultFile: '', directory: '/etc/hearth/seccomp.d' }
  }
  const example = join(bench.root, 'test/third-party/hearth-isolator-scratch')
  process.env['SCRATCH_ROOT'] = bench.folder('scratch')
  const strange = guarded(await loadIsolator(example, '/', { sleep }), () => undefined)
  const rows: Row[] = []
  for (const isolator of [...builtinIsolators(config), strange]) rows.push(...(await measure(bench, isolator)))
  const cpuPercent = await sampling(bench, layout, cgroupParent)
  const view = await shiftedView(bench)
  return {
    rows: [...rows, ...view.rows, { name: `usage and pressure of ${bench.n} containers, once a second`, n: seconds, cpuPercent }],
    goals: [
      judged({ name: 'CPU of one sample a second', unit: '% of a core', bound: 'at most', goal: 1 }, cpuPercent),
      view.goal
    ],
    notes: [
      `n is containers, one after the other. scratch is the example of test/third-party, behind the guard for strangers.`,
      `sampling: the CPU time of this process over ${seconds} s, descriptors kept, ${layout.mode} host; containers are empty cgroups.`
    ]
  }
}

async function measure(bench: Bench, isolator: Isolator): Promise<readonly Row[]> {
  const { signal } = new AbortController()
  const prepare: number[] = []
  const cleanup: number[] = []
  for (let n = 0; n <= bench.n; n += 1) {
    bench.signal.throwIfAborted()
    bench.progress(`${isolator.name} ${n} of ${bench.n}`)
    const request = requestOf(bench)
    mkdirSync(request.sandboxDir, { recursive: true })
    mkdirSync(request.bundleDir, { recursive: true })
    const took = async (step: () => Promise<unknown>): Promise<number> => {
      const sinceMs = performance.now()
      await step()
      return performance.now() - sinceMs
    }
    prepare.push(await took(() => isolator.prepare(request, signal)))
    cleanup.push(await took(() => isolator.cleanup(request, signal)))
  }
  // The first one reads what the others find in memory.
  return [
    { name: `${isolator.name}: prepare`, ...spreadOf(prepare.slice(1)) },
    { name: `${isolator.name}: clean-up`, ...spreadOf(cleanup.slice(1)) }
  ]
}

function requestOf(bench: Bench): IsolatorRequest {
  const containerId = randomBytes(16).toString('hex')
  return {
    containerId,
    bundleDir: join(bench.folder('c'), containerId),
    sandboxDir: join(bench.folder('s'), containerId),
    limits: { milliCpu: 500, memoryBytes: 64 * 1024 ** 2, diskBytes: 1024 ** 3, pidsMax: 4_096 },
    ...{ network: 'none', layers: [bench.rootfs], imageMounts: [], mounts: [], walls: usualWalls, made: [] },
    process: {
      ...{ arguments: ['/bin/true'], environment: [], workingDirectory: '/', hostname: 'bench' },
      ...{ uid: 0, gid: 0, additionalGids: [], terminal: false, rows: 0, columns: 0 }
    },
    labels: { 'scratch.mib': '1' },
    journal: async () => undefined
  }
}

/** Percent of a core. */
async function sampling(bench: Bench, layout: ReturnType<typeof readCgroupLayout>, cgroupParent: string): Promise<number> {
  const tasks = Array.from({ length: bench.n }, () => {
    const containerId = randomBytes(16).toString('hex')
    return {
      frameworkId: 'f',
      taskId: containerId,
      name: '',
      state: 'running',
      containerId,
      cgroupPath: join(cgroupParent, containerId)
    }
  })
  const made = tasks.flatMap(({ cgroupPath }) => cgroupDirectories(layout, cgroupPath))
  for (const directory of made) mkdirSync(directory, { recursive: true })
  const statistics = new TaskStatistics({ layout, clock: systemClock, isolators: [] })
  try {
    await statistics.sample(tasks, bench.signal)
    const before = process.cpuUsage()
    for (let second = 1; second <= seconds; second += 1) {
      bench.progress(`sample ${second} of ${seconds}`)
      await sleep(1_000, bench.signal)
      await statistics.sample(tasks, bench.signal)
    }
    const { user, system } = process.cpuUsage(before)
    return rounded((user + system) / 10_000 / seconds)
  } finally {
    statistics.forgetOthers(new Set())
    removeAll(made)
  }
}

function removeAll(directories: readonly string[]): void {
  for (const directory of directories) rmdirSync(directory)
}
