import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { cgroupDirectories, readCgroupLayout } from '../../isolators/cgroup2/layout.ts'
import { newContainerId } from '../../proto/ids.ts'
import { kernelKinds, plantKernelObjects, plantLayers } from '../support/planted-objects.ts'
import type { AgentUnderTest } from './agent-under-test.ts'
import type { Bench, Outcome } from './bench.ts'
import { eventually } from './eventually.ts'
import { inLanes } from './lanes.ts'
import { judged } from './report.ts'
import { rounded, spreadOf } from './statistics.ts'

const liveContainers = 10
const looks = 10

interface Report {
  readonly findings: readonly { readonly kind: string; readonly containerId: string }[]
  readonly orphans: Readonly<Record<string, number>>
}

/** `n` orphans of every kind are planted beside containers that run: how long the agent takes to find all of them, and whether nothing else. */
export async function fsck(bench: Bench): Promise<Outcome> {
  const agent = await bench.startAgent('k', { logLevel: 'info' })
  const containers = Array.from({ length: liveContainers }, () => agent.prepare('runc'))
  bench.cleanup.add('the hold on the containers', () => {
    for (const container of containers) container.letGo()
  })
  await inLanes(containers, 4, async (c) => {
    await c.start(bench.signal, 'untimed')
  })
  for (const container of containers) await container.awaitRunning()
  bench.progress(`planting ${bench.n} orphans of each kind`)
  const planted = await plant(bench, agent)
  const samples: number[] = []
  let report: Report = { findings: [], orphans: {} }
  for (let look = 1; look <= looks; look += 1) {
    bench.signal.throwIfAborted()
    bench.progress(`look ${look} of ${looks}`)
    const sinceMs = performance.now()
    report = (await agent.get('/v1/fsck')) as Report
    samples.push(performance.now() - sinceMs)
  }
  const live: ReadonlySet<string> = new Set(containers.map((c) => c.id))
  const accused = report.findings.filter((f) => live.has(f.containerId)).length
  const found = Math.min(...planted.map((kind) => report.orphans[kind] ?? 0))
  const spread = spreadOf(samples)
  return {
    rows: [{ name: `look at ${bench.n} orphans of ${planted.length} kinds`, ...spread }],
    goals: [
      judged({ name: 'orphans found of each kind', unit: 'orphans', bound: 'at least', goal: bench.n }, found),
      judged({ name: 'live objects named', unit: 'objects', bound: 'at most', goal: 0 }, accused),
      judged({ name: 'p90 of a look', unit: 'ms', bound: 'at most', goal: 2_000 }, spread.p90Ms)
    ],
    notes: [
      `n is looks. Kinds: ${planted.join(', ')}. ${report.findings.length} findings in all, ${liveContainers} containers beside them.`,
      `the slowest look took ${rounded(Math.max(...samples))} ms, the agent’s two comparisons and the answer’s way included.`
    ]
  }
}

/** Returns the kinds, by their names in the report. All lie where the agent under test is removed with everything, but for the cgroups’ parent, which is too. */
async function plant(bench: Bench, agent: AgentUnderTest): Promise<readonly string[]> {
  const runDir = dirname(realpathSync(join(agent.stateDir, 'run/c')))
  const layout = readCgroupLayout()
  const many = (make: (id: string) => void): void => {
    for (let n = 0; n < bench.n; n += 1) make(newContainerId())
  }
  many((id) => {
    for (const path of cgroupDirectories(layout, join(agent.cgroupParent, id))) mkdirSync(path, { recursive: true })
  })
  many((id) => mkdirSync(join(runDir, 'c', id)))
  many((id) => mkdirSync(join(runDir, 'oci/runc', id), { recursive: true }))
  many((id) => writeFileSync(join(runDir, 'exits', id), '0'))
  mkdirSync(join(runDir, 'leases'), { recursive: true })
  many((id) => writeFileSync(join(runDir, 'leases', id), 'hearth-lease 1'))
  many((id) => {
    mkdirSync(agent.sandboxOf(id))
    writeFileSync(join(agent.sandboxOf(id), 'log'), 'x')
  })
  many((id) => mkdirSync(join(agent.sandboxOf(id), 'upper'), { recursive: true }))
  const monitors: ChildProcess[] = []
  bench.cleanup.add('the planted monitors', () => {
    for (const child of monitors) child.kill('SIGKILL')
  })
  many((id) => {
    // A shell that waits for input that never comes keeps the words of its script.
    const words = ['-u', id, '--conmon-pidfile', 'x', '--exit-dir', join(runDir, 'exits')]
    monitors.push(spawn('sh', ['-c', 'read x', 'conmon', ...words], { stdio: ['pipe', 'ignore', 'ignore'] }))
  })
  const isThere = ({ pid }: ChildProcess): boolean => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('--exit-dir')
  await eventually('the planted monitors to run', () => monitors.every(isThere))
  const { agentId } = (await agent.get('/v1/health')) as { readonly agentId: string }
  const ids: string[] = []
  many((id) => ids.push(id))
  const undo = { teardown: (work: () => void) => bench.cleanup.add('the planted kernel objects', work) }
  plantKernelObjects(undo, { agentId, runDir, stateDir: agent.stateDir }, ids)
  plantLayers(agent.stateDir, bench.n)
  const files = [
    'cgroup',
    'bundle',
    'runtime_state',
    'exit_file',
    'lease',
    'sandbox_dir',
    'log_file',
    'overlay',
    'conmon',
    'layer'
  ]
  return [...files, ...kernelKinds]
}
