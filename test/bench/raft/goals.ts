import { type Goal, judged, ratio } from '../report.ts'
import { percentile } from '../statistics.ts'
import { afterPart, freezePart, idlePart, killPart, type Part } from './parts.ts'
import type { PartOf } from './rows.ts'
import type { System } from './store-client.ts'

const wanted = { kills: 200, freezes: 50 }

/** Those of issue 5; ratios, since absolute figures belong to one machine. */
export function goalsOf(of: PartOf): readonly Goal[] {
  const load = (system: System, name: string): Part['load'] => of(system, name)?.load
  const rate = (system: System, name: string): number | undefined => load(system, name)?.perSecond
  const one = 'write, one at a time'
  const [w64, w256, r256] = ['write, 64 in flight', 'write, 256 in flight', 'read, 256 in flight']
  const x = { unit: 'x etcd’s', bound: 'at least' } as const
  return [
    judged(
      { name: `${one}, p50`, unit: 'x etcd’s', bound: 'at most', goal: 0.7 },
      ratio(load('hearth', one)?.p50Ms, load('etcd', one)?.p50Ms)
    ),
    judged({ ...x, name: w64, goal: 4 }, ratio(rate('hearth', w64), rate('etcd', w64))),
    judged({ ...x, name: w256, goal: 7 }, ratio(rate('hearth', w256), rate('etcd', w256))),
    judged({ ...x, name: w256, unit: 'x ZooKeeper’s', goal: 3.5 }, ratio(rate('hearth', w256), rate('zookeeper', w256))),
    judged({ name: `${w256}, p99`, unit: 'ms', bound: 'at most', goal: 10 }, load('hearth', w256)?.p99Ms),
    judged({ ...x, name: r256, goal: 8 }, ratio(rate('hearth', r256), rate('etcd', r256))),
    judged({ name: 'TLS', unit: 'x plain', bound: 'at most', goal: 1.5 }, undefined, 'this bench has no TLS yet'),
    ...failoverGoals(of),
    judged({ name: 'RSS, idle', unit: 'MB', bound: 'at most', goal: 80 }, largest(of('hearth', idlePart)?.rssMb)),
    judged({ name: 'RSS, after load', unit: 'MB', bound: 'at most', goal: 180 }, largest(of('hearth', afterPart)?.rssMb))
  ]
}

function failoverGoals(of: PartOf): readonly Goal[] {
  const killed = of('hearth', killPart)?.failovers?.survivors ?? []
  const frozen = of('hearth', freezePart)?.failovers?.survivors ?? []
  const fewer = (samples: readonly number[], least: number): { readonly note?: string } =>
    samples.length > 0 && samples.length < least ? { note: `${samples.length} instead of ${least}` } : {}
  const share = (samples: readonly number[], at: number): number | undefined =>
    samples.length === 0 ? undefined : percentile(samples, at)
  const ms = { unit: 'ms', bound: 'at most' } as const
  return [
    { ...judged({ ...ms, name: 'leader killed, p50', goal: 60 }, share(killed, 0.5)), ...fewer(killed, wanted.kills) },
    { ...judged({ ...ms, name: 'leader killed, p99', goal: 200 }, share(killed, 0.99)), ...fewer(killed, wanted.kills) },
    { ...judged({ ...ms, name: 'leader stopped, p99', goal: 1_200 }, share(frozen, 0.99)), ...fewer(frozen, wanted.freezes) }
  ]
}

const largest = (values: readonly number[] | undefined): number | undefined =>
  values === undefined ? undefined : Math.max(...values)
