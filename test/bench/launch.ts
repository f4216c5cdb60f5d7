import type { Bench } from './bench.ts'
import type { Contender } from './contender.ts'
import { BareRuntime } from './peers/bare.ts'
import { PeerBundles } from './peers/bundles.ts'
import { ConmonRunc } from './peers/conmon.ts'
import { judged, type Row, ratio, withRatios } from './report.ts'
import { spreadOf } from './statistics.ts'
import type { Outcome } from './bench.ts'

interface Lane {
  readonly contender: Contender
  /** Runs in one of so many rounds. */
  readonly everyRounds: number
  readonly samples: number[]
}

/** Launches one container after another, contender by contender in turns, so that all see the same machine. */
export async function launch(bench: Bench): Promise<Outcome> {
  const agent = await bench.startAgent('a')
  const bundles = await PeerBundles.from(agent, bench.folder('p'), bench.cleanup)
  const lane = (contender: Contender, everyRounds: number): Lane => ({ contender, everyRounds, samples: [] })
  const hearth = lane(agent.contender('hearth agent, runc', 'runc'), 1)
  const peer = lane(new ConmonRunc(bundles, bench.programs), 1)
  const hearthCrun = lane(agent.contender('hearth agent, crun', 'crun'), 2)
  const lanes = [
    hearth,
    peer,
    ...(bench.has('crun') ? [hearthCrun] : []),
    lane(new BareRuntime('runc', bench.programs.runc, bundles), 4),
    ...(bench.has('crun') ? [lane(new BareRuntime('crun', bench.programs.crun, bundles), 4)] : [])
  ]
  for (const { contender } of lanes) await launchOnce(contender, bench.signal) // unmeasured: caches, first-time work
  for (let round = 0; round < bench.n; round += 1) {
    bench.progress(`launch ${round + 1} of ${bench.n}`)
    const turn = lanes.filter((l) => round % l.everyRounds === 0)
    for (const l of round % 2 === 0 ? turn : [...turn].reverse()) l.samples.push(await launchOnce(l.contender, bench.signal))
  }
  const rowOf = ({ contender, samples }: Lane): Row => ({
    name: contender.name,
    ...spreadOf(samples),
    ...(contender.note === undefined ? {} : { note: contender.note })
  })
  const reference = rowOf(peer)
  const crun = hearthCrun.samples.length === 0 ? undefined : rowOf(hearthCrun)
  return {
    rows: withRatios(lanes.map(rowOf), reference),
    goals: [
      judged(
        { name: 'launch p50, hearth on runc / conmon+runc', unit: 'x', bound: 'at most', goal: 0.95 },
        ratio(rowOf(hearth).p50Ms, reference.p50Ms)
      ),
      judged(
        { name: 'launch p99, hearth on runc / conmon+runc', unit: 'x', bound: 'at most', goal: 1.5 },
        ratio(rowOf(hearth).p99Ms, reference.p99Ms)
      ),
      judged(
        { name: 'launch p50, hearth on crun / conmon+runc', unit: 'x', bound: 'at most', goal: 0.7 },
        ratio(crun?.p50Ms, reference.p50Ms),
        'crun is not installed'
      )
    ],
    notes: [
      'hearth: from the arrival of the Launch frame at the agent to the first byte of the container’s first process.',
      'peers: from the fork of the first program; bundle written and root mounted beforehand; the same config.json.'
    ]
  }
}

async function launchOnce(contender: Contender, signal: AbortSignal): Promise<number> {
  signal.throwIfAborted()
  const container = await contender.prepare()
  try {
    return await container.start(signal)
  } finally {
    await container.remove()
  }
}
