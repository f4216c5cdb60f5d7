import t from 'tap'
import { median, percentile, spreadOf } from './statistics.ts'

t.test('a percentile is a value that was measured', async (t) => {
  const values = [9, 1, 5, 3, 7, 2, 8, 4, 6, 10]
  t.equal(percentile(values, 0.5), 5)
  t.equal(percentile(values, 0.9), 9)
  t.equal(percentile(values, 0.99), 10)
  t.equal(percentile([3], 0.99), 3)
  t.strictSame(values.slice(0, 2), [9, 1], 'the samples keep their order')
})

t.test('the median of three rounds is the middle one', async (t) => t.equal(median([30, 10, 20]), 20))

t.test('no samples give no figure', async (t) => t.ok(Number.isNaN(percentile([], 0.5))))

t.test('a spread of two hundred samples', async (t) => {
  const samples = Array.from({ length: 200 }, (_, i) => i + 1)
  t.strictSame(spreadOf(samples), { n: 200, p50Ms: 100, p90Ms: 180, p99Ms: 198 })
})
