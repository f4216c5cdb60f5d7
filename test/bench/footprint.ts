import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { AgentUnderTest } from './agent-under-test.ts'
import type { Bench, Outcome } from './bench.ts'
import type { HearthContainer } from './hearth-container.ts'
import { inLanes } from './lanes.ts'
import { processCpuMs, pssMb, rssMb } from './machine.ts'
import { findNode24 } from './node24.ts'
import { type Goal, judged, type Row } from './report.ts'
import { rounded } from './statistics.ts'

const idleMs = 10_000
const watchMs = 60_000
const launchesAtOnce = 4

/** Memory of the agent when nothing runs, and what `n` running containers add to it; its CPU while they run. */
export async function footprint(bench: Bench): Promise<Outcome> {
  const nodes = [
    { name: 'Node 20', node: process.execPath, goalMb: 65 },
    { name: 'Node 24', node: await findNode24(bench.root), goalMb: 72 }
  ]
  const rows: Row[] = []
  const goals: Goal[] = []
  for (const { name, node, goalMb } of nodes) {
    const wish = { name: `agent idle, ${name}`, unit: 'MB RSS', bound: 'at most', goal: goalMb } as const
    if (node === undefined) {
      goals.push(judged(wish, undefined, `${name} is not there`))
      continue
    }
    const agent = await bench.startBareAgent(name.replace(' ', '').toLowerCase(), { node, logLevel: 'info' })
    const measured = await measure(bench, agent, name)
    rows.push(...measured.rows)
    goals.push(judged(wish, measured.idleMb), ...measured.goals)
    await agent.stop()
  }
  return {
    rows,
    goals,
    notes: ['PSS of a container is its conmon’s plus what the agent grew by, divided by the number of containers.']
  }
}

async function measure(
  bench: Bench,
  agent: AgentUnderTest,
  name: string
): Promise<{ readonly rows: readonly Row[]; readonly goals: readonly Goal[]; readonly idleMb: number }> {
  bench.progress(`${name}: idle for ${idleMs / 1000} s`)
  await pause(idleMs, undefined, { signal: bench.signal })
  const idle = { rss: rssMb(agent.pid), pss: pssMb(agent.pid) }
  await agent.importImage(bench.rootfs)
  const containers = Array.from({ length: bench.n }, () => agent.prepare('runc'))
  try {
    bench.progress(`${name}: starting ${bench.n} containers`)
    await inLanes(containers, launchesAtOnce, async (c) => {
      await c.start(bench.signal, 'untimed')
    })
    for (const container of containers) await container.awaitRunning()
    bench.progress(`${name}: ${bench.n} containers for ${watchMs / 1000} s`)
    const [cpuMs, sinceMs] = [processCpuMs(agent.pid), performance.now()]
    await pause(watchMs, undefined, { signal: bench.signal })
    const cpuPercent = ((processCpuMs(agent.pid) - cpuMs) * 100) / (performance.now() - sinceMs)
    const full = { rss: rssMb(agent.pid), pss: pssMb(agent.pid) }
    const monitors = containers.map((c) => pssMb(monitorOf(agent, c)))
    const monitorMb = monitors.reduce((sum, mb) => sum + mb, 0) / monitors.length
    const eachMb = monitorMb + (full.pss - idle.pss) / containers.length
    return {
      idleMb: idle.rss,
      rows: [
        { name: `agent idle, ${name}`, n: 1, rssMb: rounded(idle.rss), pssMb: rounded(idle.pss) },
        {
          name: `agent with ${bench.n} containers, ${name}`,
          n: bench.n,
          rssMb: rounded(full.rss),
          pssMb: rounded(full.pss),
          cpuPercent: rounded(cpuPercent)
        },
        { name: `conmon each, ${name}`, n: monitors.length, pssMb: rounded(monitorMb) },
        { name: `container each, ${name}`, n: bench.n, pssMb: rounded(eachMb) }
      ],
      goals: [
        judged({ name: `a container, ${name}`, unit: 'MB PSS', bound: 'at most', goal: 0.6 }, eachMb),
        judged({ name: `agent with ${bench.n} containers, ${name}`, unit: '% of a core', bound: 'at most', goal: 1 }, cpuPercent)
      ]
    }
  } finally {
    bench.progress(`${name}: removing ${bench.n} containers`)
    await inLanes(containers, launchesAtOnce, (c) => c.remove())
  }
}

const monitorOf = (agent: AgentUnderTest, container: HearthContainer): number =>
  Number(readFileSync(join(agent.bundleOf(container.id), 'conmon.pid'), 'utf8'))
