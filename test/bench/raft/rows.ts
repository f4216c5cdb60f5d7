import type { Row } from '../report.ts'
import { rounded, spreadOf } from '../statistics.ts'
import { afterPart, freezePart, idlePart, killPart, loads, type Part } from './parts.ts'
import type { System } from './store-client.ts'
import type { Contestant } from './systems.ts'

export type PartOf = (system: System, name: string) => Part | undefined

/** What was measured of one system; ratios are against etcd's row of the same kind. */
export function rowsOf({ system, name }: Contestant, of: PartOf): readonly Row[] {
  const rows: Row[] = []
  for (const load of loads) {
    const measured = of(system, load.name)?.load
    if (measured === undefined) continue
    const { n, p50Ms, p90Ms, p99Ms, perSecond, clientCores, serverCpuUs } = measured
    const etcd = system === 'etcd' ? undefined : of('etcd', load.name)?.load
    rows.push({
      name: `${name}: ${load.name}`,
      n,
      p50Ms: rounded(p50Ms),
      p90Ms: rounded(p90Ms),
      p99Ms: rounded(p99Ms),
      perSecond: Math.round(perSecond),
      ...(etcd === undefined
        ? {}
        : {
            p50Ratio: rounded(p50Ms / etcd.p50Ms),
            p99Ratio: rounded(p99Ms / etcd.p99Ms),
            perSecondRatio: rounded(perSecond / etcd.perSecond)
          }),
      note: `${serverCpuUs.toFixed(1)} µs of CPU each, of all three; the generator took ${clientCores.toFixed(2)} cores`
    })
  }
  for (const part of [idlePart, afterPart]) {
    const rss = of(system, part)?.rssMb
    if (rss !== undefined)
      rows.push({ name: `${name}: ${part}, the largest of three`, n: rss.length, rssMb: rounded(Math.max(...rss)) })
  }
  for (const part of [killPart, freezePart]) {
    const { survivors = [], orphans = [] } = of(system, part)?.failovers ?? {}
    if (survivors.length > 0) rows.push({ name: `${name}: ${part}`, ...spreadOf(survivors), note: worst(survivors) })
    if (orphans.length > 0) rows.push({ name: `${name}: ${part}, its own client`, ...spreadOf(orphans), note: worst(orphans) })
  }
  return rows
}

const worst = (samples: readonly number[]): string => `at worst ${rounded(Math.max(...samples))} ms`
