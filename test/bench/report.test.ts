import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { checkReportPlace, judged, type Report, renderGoal, renderReport, withRatios, writeReport } from './report.ts'

const most = { name: 'launch', unit: 'ms', bound: 'at most', goal: 50 } as const
const least = { name: 'rate', unit: 'x', bound: 'at least', goal: 1.8 } as const

t.test('a goal is met on the right side of its bound, and exactly at it', async (t) => {
  t.equal(judged(most, 50).met, true)
  t.equal(judged(most, 50.1).met, false)
  t.equal(judged(least, 1.8).met, true)
  t.equal(judged(least, 1.79).met, false)
})

t.test('what was not measured is neither met nor missed, and says why', async (t) => {
  const goal = judged(most, undefined, 'docker is not installed')
  t.match(goal, { actual: null, met: null })
  t.match(renderGoal(goal), /docker is not installed/)
  t.equal(judged(most, Number.NaN).met, null)
})

t.test('a missed goal says by how much', async (t) => {
  t.equal(renderGoal(judged(most, 60)), 'MISSED launch: at most 50 ms, is 60 (by 10, 20 %)')
  t.equal(renderGoal(judged(most, 40)), 'met    launch: at most 50 ms, is 40')
})

t.test('ratios are against the reference, where both have the figure', async (t) => {
  const reference = { name: 'peer', n: 2, p50Ms: 50, p99Ms: 80 }
  const [own, other] = withRatios(
    [
      { name: 'own', n: 2, p50Ms: 40, p99Ms: 120, perSecond: 3 },
      { name: 'none', n: 0 }
    ],
    reference
  )
  t.match(own, { p50Ratio: 0.8, p99Ratio: 1.5 })
  t.notOk(own !== undefined && 'perSecondRatio' in own)
  t.strictSame(other, { name: 'none', n: 0 })
})

const report: Report = {
  name: 'launch',
  commit: 'abc',
  machine: { cores: 2 },
  versions: { node: '20' },
  rows: [
    { name: 'own', n: 2, p50Ms: 41.26 },
    { name: 'docker', n: 0, note: 'not run: docker is not installed' }
  ],
  goals: [judged(most, 41.26)],
  notes: []
}

t.test('the table has only columns that a row fills', async (t) => {
  const text = renderReport(report)
  t.match(text, /own\s+2\s+41\.3/)
  t.match(text, /docker: not run: docker is not installed/)
  t.notMatch(text, /per s|RSS/)
})

t.test('the file holds what was measured', async (t) => {
  const path = join(t.testdir(), 'out.json')
  writeReport(path, report)
  t.strictSame(JSON.parse(readFileSync(path, 'utf8')), report)
})

t.test('a place for the report that takes none is told before the bench runs', async (t) => {
  const folder = t.testdir()
  t.doesNotThrow(() => checkReportPlace(undefined))
  t.doesNotThrow(() => checkReportPlace(join(folder, 'new.json')))
  t.throws(() => checkReportPlace(join(folder, 'no/new.json')), { code: 'invalid', message: /cannot be written \(ENOENT\)$/ })
  t.throws(() => checkReportPlace(folder), { code: 'invalid', message: /is a folder; name a file$/ })
})
