import type { AgentUnderTest } from './agent-under-test.ts'
import type { Bench, Outcome } from './bench.ts'
import type { Prepared } from './contender.ts'
import { inLanes, removeByShell } from './lanes.ts'
import { machineCpuMs } from './machine.ts'
import { PeerBundles } from './peers/bundles.ts'
import { ConmonRunc } from './peers/conmon.ts'
import { judged, type Row, ratio, withRatios } from './report.ts'
import { median, rounded, spreadOf } from './statistics.ts'

const rounds = 3
const atOnce = 4

interface Round {
  readonly n: number
  readonly perSecond: number
  readonly cpuMsEach: number
  /** Of each launch. */
  readonly samples: readonly number[]
}

interface Sums {
  readonly launches: Round[]
  readonly removals: Round[]
}

/** Starts `n` containers four at a time, then removes them four at a time; three rounds of each side in turns. */
export async function burst(bench: Bench): Promise<Outcome> {
  const agent = await bench.startAgent('a', { logLevel: 'info' })
  const bundles = await PeerBundles.from(agent, bench.folder('p'), bench.cleanup)
  const peer = new ConmonRunc(bundles, bench.programs)
  const own: Sums = { launches: [], removals: [] }
  const other: Sums = { launches: [], removals: [] }
  for (let round = 0; round < rounds; round += 1) {
    bench.progress(`burst ${round + 1} of ${rounds}`)
    const both = [() => hearthRound(bench, agent, own), () => peerRound(bench, peer, bundles, other)]
    for (const side of round % 2 === 0 ? both : both.reverse()) await side()
  }
  const launchRows = [rowOf('launch: hearth agent, runc', own.launches), rowOf(`launch: ${peer.name}`, other.launches)]
  const removalRows = [rowOf('removal: hearth agent', own.removals), rowOf('removal: shell loop', other.removals)]
  return {
    rows: [...withRatios(launchRows, launchRows[1]), ...withRatios(removalRows, removalRows[1])],
    goals: [
      judged(
        { name: 'launches per second, hearth / conmon+runc', unit: 'x', bound: 'at least', goal: 1 },
        ratio(launchRows[0]?.perSecond, launchRows[1]?.perSecond)
      ),
      judged(
        { name: 'removals per second, hearth / shell loop', unit: 'x', bound: 'at least', goal: 1.8 },
        ratio(removalRows[0]?.perSecond, removalRows[1]?.perSecond)
      )
    ],
    notes: [
      `${atOnce} at a time; the rates are the median of ${rounds} rounds.`,
      'hearth’s launches count from the first frame that is sent; its removals from the Kill frame (no grace) until the process,',
      'the bundle and the cgroups are gone, the writable layer lies in the trash (deleted within the round’s time or after it) and',
      'all of it is on record in the ledger. The shell loop, which leaves its writable layers where they are, does kill -9, wait for',
      'conmon’s exit file, `runc delete` and umount, in four loops of bash that wait without forking; bundles are left out of its time.'
    ]
  }
}

async function hearthRound(bench: Bench, agent: AgentUnderTest, sums: Sums): Promise<void> {
  const containers = Array.from({ length: bench.n }, () => agent.prepare('runc'))
  try {
    sums.launches.push(await timed(containers, (c) => c.start(bench.signal, 'untimed').then(() => undefined)))
    for (const container of containers) await container.awaitRunning()
    sums.removals.push(await timed(containers, (c) => c.kill().then(() => undefined)))
  } finally {
    for (const container of containers) await container.remove()
  }
}

async function peerRound(bench: Bench, peer: ConmonRunc, bundles: PeerBundles, sums: Sums): Promise<void> {
  const containers: Awaited<ReturnType<ConmonRunc['prepare']>>[] = []
  try {
    for (let i = 0; i < bench.n; i += 1) containers.push(await peer.prepare())
    sums.launches.push(await timed(containers, (c) => c.start(bench.signal)))
    const cpuMs = machineCpuMs()
    const tookMs = await removeByShell(containers, { atOnce, runc: bench.programs.runc, home: bundles.home })
    sums.removals.push(roundOf(containers.length, tookMs, machineCpuMs() - cpuMs, []))
    for (const container of containers) container.removed()
  } finally {
    for (const container of containers) await container.remove()
  }
}

async function timed<C extends Prepared>(containers: readonly C[], work: (c: C) => Promise<number | undefined>): Promise<Round> {
  const samples: number[] = []
  const cpuMs = machineCpuMs()
  const startMs = performance.now()
  await inLanes(containers, atOnce, async (container) => {
    const sinceMs = performance.now()
    const ms = await work(container)
    samples.push(ms ?? performance.now() - sinceMs)
  })
  return roundOf(containers.length, performance.now() - startMs, machineCpuMs() - cpuMs, samples)
}

const roundOf = (n: number, tookMs: number, cpuMs: number, samples: readonly number[]): Round => ({
  n,
  perSecond: (n * 1000) / tookMs,
  cpuMsEach: cpuMs / n,
  samples
})

function rowOf(name: string, all: readonly Round[]): Row {
  const samples = all.flatMap((r) => r.samples)
  return {
    name,
    ...(samples.length === 0 ? {} : spreadOf(samples)),
    n: all.reduce((sum, r) => sum + r.n, 0),
    perSecond: rounded(median(all.map((r) => r.perSecond))),
    cpuMsEach: rounded(median(all.map((r) => r.cpuMsEach)))
  }
}
