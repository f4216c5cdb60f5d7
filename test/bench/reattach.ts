import { rowOf, type Start, traceOf } from './agent-start.ts'
import type { AgentUnderTest } from './agent-under-test.ts'
import type { Bench, Outcome } from './bench.ts'
import { eventually } from './eventually.ts'
import type { HearthContainer } from './hearth-container.ts'
import { inLanes } from './lanes.ts'
import { rssMb } from './machine.ts'
import { judged } from './report.ts'
import { median, rounded } from './statistics.ts'

const starts = 5
const launchesAtOnce = 4

/** Where the agent says how many of its tasks run. */
interface Health {
  readonly running?: number
}

interface Restart extends Start {
  readonly rssMb: number
}

/**
 * `n` containers of runc and conmon are left by an agent that is killed; the next one takes all of them over, again and again:
 * the time from its fork until it says that it has started, and its memory once it watches all of them.
 */
export async function reattach(bench: Bench): Promise<Outcome> {
  const agent = await bench.startAgent('r', { logLevel: 'info' })
  const containers = Array.from({ length: bench.n }, () => agent.prepare('runc'))
  bench.cleanup.add('the hold on the containers', () => {
    for (const container of containers) container.letGo()
  })
  bench.progress(`starting ${bench.n} containers`)
  await inLanes(containers, launchesAtOnce, async (c) => {
    await c.start(bench.signal, 'untimed')
  })
  for (const container of containers) await container.awaitRunning()
  const measured: Restart[] = []
  for (let n = 1; n <= starts; n += 1) {
    bench.signal.throwIfAborted()
    bench.progress(`start ${n} of ${starts} with ${bench.n} containers`)
    measured.push(await restart(agent, bench.n))
  }
  await proveThatTheyEnd(bench, containers)
  const name = `agent that takes ${bench.n} containers over`
  const rss = Math.max(...measured.map((s) => s.rssMb))
  return {
    rows: [{ ...rowOf(name, measured), rssMb: rounded(rss) }],
    goals: [
      judged({ name: 'p50 until it has started', unit: 'ms', bound: 'at most', goal: 2_000 }, median(measured.map((s) => s.ms))),
      judged({ name: 'most memory of any start', unit: 'MB RSS', bound: 'at most', goal: 110 }, rss)
    ],
    notes: ['n is starts, each after a SIGKILL. CPU ms each: of the agent’s own process.', traceOf(name, measured)]
  }
}

async function restart(agent: AgentUnderTest, count: number): Promise<Restart> {
  const start = await agent.restart()
  await eventually(
    `all ${count} containers to be watched`,
    async () => ((await agent.get('/v1/health')) as Health).running === count
  )
  return { ...start, rssMb: rssMb(agent.pid) }
}

/** What was taken over is under the agent's hand: it ends and removes one on request. The others end with the agent under test. */
async function proveThatTheyEnd(bench: Bench, containers: readonly HearthContainer[]): Promise<void> {
  bench.progress('removing')
  for (const container of containers.slice(0, 5)) await container.remove()
}
