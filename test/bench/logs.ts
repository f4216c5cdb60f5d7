import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { newContainerId } from '../../proto/ids.ts'
import { scalar } from '../../proto/resources.ts'
import { frameworkId } from '../campaign/master.ts'
import { marksMount, World } from '../campaign/world.ts'
import type { Bench, Outcome } from './bench.ts'
import { processCpuMs } from './machine.ts'
import { judged } from './report.ts'
import { rounded } from './statistics.ts'

const wantedPerSecond = 50_000
/** The first seconds are those of the launch. */
const settleMs = 3_000
const lineText = 'x'.repeat(80)

/** What one task's log costs the agent: it writes at least 50,000 lines of 80 bytes a second for `n` seconds, rotated all the while. */
export async function logs(bench: Bench): Promise<Outcome> {
  const world = await World.open({ directory: join(bench.directory, 'w'), program: join(bench.root, 'dist/agent.cjs') })
  const close = bench.cleanup.add('the world of the log bench', () => world.close())
  await world.startAndRegister(bench.signal)
  const containerId = newContainerId()
  const lines = (): number => Number(readFileSync(join(world.places.marksDir, 'lines'), 'utf8'))
  world.master.launch(containerId, {
    frameworkId,
    role: '*',
    tasks: [
      {
        taskId: 'writer',
        image: 'host',
        resources: [scalar('mem', 256 * 1024 * 1024)],
        process: { arguments: ['sh', '-c', writer] },
        mounts: [{ source: world.places.marksDir, target: marksMount, readOnly: false }],
        network: { mode: 'host' }
      }
    ]
  })
  await world.master.until(
    () => world.master.has(containerId, 'running'),
    AbortSignal.any([bench.signal, AbortSignal.timeout(30_000)])
  )
  await pause(settleMs, undefined, { signal: bench.signal })
  const pid = world.agentPid ?? 0
  const before = { cpuMs: processCpuMs(pid), atMs: performance.now(), lines: lines() }
  bench.progress(`writing for ${bench.n} s`)
  await pause(bench.n * 1_000, undefined, { signal: bench.signal })
  const elapsedMs = performance.now() - before.atMs
  const cpuPercent = ((processCpuMs(pid) - before.cpuMs) * 100) / elapsedMs
  const perSecond = ((lines() - before.lines) * 1_000) / elapsedMs
  await close()
  return {
    rows: [{ name: 'agent, one task that writes', n: bench.n, perSecond: rounded(perSecond), cpuPercent: rounded(cpuPercent) }],
    goals: [
      judged({ name: 'lines of the task', unit: 'a second', bound: 'at least', goal: wantedPerSecond }, perSecond),
      judged({ name: 'agent while it writes', unit: '% of a core', bound: 'at most', goal: 2 }, cpuPercent)
    ],
    notes: ['n is seconds. conmon writes the log; the agent rotates it and searches what it put away for losses.']
  }
}

/** A block of 5,000 lines is written some eleven times a second; how many came to be is told beside. */
const writer = `block=$(yes ${lineText} | head -n 5000); n=0
  while :; do printf '%s\\n' "$block"; n=$((n+5000)); echo $n > ${marksMount}/lines.new; mv ${marksMount}/lines.new ${marksMount}/lines; sleep 0.085; done`
