import { chownSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { systemExec } from '../../agent/host/exec.ts'
import { ShiftedViews } from '../../agent/images/shifted-views.ts'
import { silentLog } from '../../base/log.ts'
import { rangeNumber } from '../../proto/id-ranges.ts'
import type { Bench } from './bench.ts'
import { type Goal, judged, type Row } from './report.ts'
import { spreadOf } from './statistics.ts'

const files = 10_000
const folders = 100
const rounds = 5

/** What it takes to give a layer to the ids of a role, once for each role; and to find that it was done. */
export async function shiftedView(bench: Bench): Promise<{ readonly rows: readonly Row[]; readonly goal: Goal }> {
  const directory = bench.folder('views')
  for (const folder of ['l', 'drafts', 'hosts']) mkdirSync(join(directory, folder), { recursive: true })
  const layer = makeLayer(join(directory, 'l/abcdefabcdef'))
  const unpackProgram = [process.execPath, join(bench.root, 'dist/unpack.cjs')]
  const views = new ShiftedViews({ exec: systemExec, log: silentLog }, { directory, unpackProgram, bootId: 'bench' })
  const [made, found]: [number[], number[]] = [[], []]
  for (let round = 0; round < rounds; round += 1) {
    bench.progress(`view ${round + 1} of ${rounds}`)
    for (const samples of [made, found]) {
      const sinceMs = performance.now()
      await views.over([layer], rangeNumber(round), bench.signal)
      samples.push(performance.now() - sinceMs)
    }
  }
  const row: Row = { name: `a shifted view of ${files} files, made`, ...spreadOf(made) }
  const wish = { name: `a shifted view of ${files} files`, unit: 'ms', bound: 'at most', goal: 1_000 } as const
  return { rows: [row, { name: 'a shifted view, found', ...spreadOf(found) }], goal: judged(wish, row.p50Ms) }
}

/** Files of 1 to 100 bytes: what they hold is not copied. */
function makeLayer(layer: string): string {
  for (let n = 0; n < folders; n += 1) {
    const folder = join(layer, `folder-${n}`)
    mkdirSync(folder, { recursive: true })
    for (let i = 1; i < files / folders; i += 1) {
      writeFileSync(join(folder, `file-${i}`), 'x'.repeat(i))
      if (i % 2 === 0) chownSync(join(folder, `file-${i}`), 1000, 1000)
    }
  }
  return layer
}
