import fc from 'fast-check'
import t from 'tap'
import { parseBytes, parseCount, parseCpus, parseDuration, showBytes, showCpus, showDuration } from '../../cli/amounts.ts'

t.test('sizes are read as docker reads them', async (t) => {
  const rows: readonly (readonly [string, number])[] = [
    ['64m', 64 * 1024 ** 2],
    ['64M', 64 * 1024 ** 2],
    ['64mb', 64 * 1024 ** 2],
    ['64MiB', 64 * 1024 ** 2],
    ['1.5g', 1.5 * 1024 ** 3],
    ['4096', 4096],
    ['10k', 10_240],
    ['2t', 2 * 1024 ** 4],
    ['7b', 7]
  ]
  for (const [text, bytes] of rows) t.equal(parseBytes('--memory', text), bytes, text)
  for (const text of ['', '0', '-1', '1x', 'm', '1e3', '64 furlongs', '99999999t', '1,5g']) {
    t.throws(
      () => parseBytes('--memory', text),
      { code: 'invalid', message: /--memory must be a size such as/ },
      JSON.stringify(text)
    )
  }
})

t.test('CPUs are thousandths', async (t) => {
  for (const [text, milli] of [
    ['0.5', 500],
    ['2', 2000],
    ['.25', 250],
    ['0.001', 1],
    ['1.2345', 1235]
  ] as const) {
    t.equal(parseCpus('--cpus', text), milli, text)
  }
  for (const text of ['', '0', '-1', 'two', '1e1', 'NaN', '0.0001'])
    t.throws(() => parseCpus('--cpus', text), { code: 'invalid' }, text)
})

t.test('times have units, seconds where there is none', async (t) => {
  for (const [text, ms] of [
    ['10', 10_000],
    ['10s', 10_000],
    ['250ms', 250],
    ['1.5m', 90_000],
    ['2h', 7_200_000],
    ['0', 0]
  ] as const) {
    t.equal(parseDuration('--grace', text), ms, text)
  }
  for (const text of ['', '1y', '-1s', 's', '1 h']) t.throws(() => parseDuration('--grace', text), { code: 'invalid' }, text)
  t.throws(() => parseCount('--tail', '1.5'), { code: 'invalid' })
})

t.test('sizes are shown with at most four characters and their unit', async (t) => {
  const rows = [
    [0, '0 B'],
    [512, '512 B'],
    [1024, '1 kB'],
    [1536, '1.5 kB'],
    [64 * 1024 ** 2, '64 MB'],
    [1.5 * 1024 ** 3, '1.5 GB']
  ] as const
  for (const [bytes, text] of rows) t.equal(showBytes(bytes), text)
  fc.assert(fc.property(fc.maxSafeInteger(), (n) => n < 0 || /^\d{1,4}(\.\d)? [kMGTP]?B$/.test(showBytes(n))))
})

t.test('CPUs and durations are shown as people say them', async (t) => {
  for (const [milli, text] of [
    [500, '0.5'],
    [2000, '2'],
    [1, '0.001'],
    [1250, '1.250']
  ] as const)
    t.equal(showCpus(milli), text)
  const rows = [
    [0, '0s'],
    [4_999, '4s'],
    [125_000, '2m 5s'],
    [12_000_000, '3h 20m'],
    [1_100_000_000, '12d'],
    [-5, '0s']
  ] as const
  for (const [ms, text] of rows) t.equal(showDuration(ms), text)
})
