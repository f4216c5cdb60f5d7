import t from 'tap'
import { parseHealthCheck, probesOf } from '../../../agent/images/health-check.ts'
import { completeMessage } from '../../../proto/codec.ts'

t.test('the health check of an image is read as docker writes it', async (t) => {
  const second = 1_000_000_000
  t.same(
    parseHealthCheck({ Test: ['CMD', 'curl', 'x'], Interval: second, Timeout: 2 * second, StartPeriod: 3 * second, Retries: 4 }),
    {
      command: ['curl', 'x'],
      ...{ intervalMs: 1_000, timeoutMs: 2_000, graceMs: 3_000, failures: 4 }
    }
  )
  t.match(parseHealthCheck({ Test: ['CMD-SHELL', 'a || b'] }), {
    command: ['/bin/sh', '-c', 'a || b'],
    intervalMs: 30_000,
    failures: 3
  })
  t.match(parseHealthCheck({ Test: ['CMD', 'a'], Interval: 1, Timeout: 1e30, Retries: 1e9 }), {
    ...{ intervalMs: 1, timeoutMs: 86_400_000, failures: 1_000 }
  })
  for (const none of [
    undefined,
    null,
    'x',
    {},
    { Test: ['NONE'] },
    { Test: ['CMD'] },
    { Test: [] },
    { Test: ['CMD', 'a\0b'] },
    { Test: 7 }
  ])
    t.equal(parseHealthCheck(none), undefined, JSON.stringify(none))
})

t.test('a task’s own probes stand in the place of its image’s health check', async (t) => {
  const check = { command: ['a'], intervalMs: 1, timeoutMs: 2, graceMs: 3, failures: 4 }
  const own = completeMessage('Probe', { purpose: 'liveness', tcp: { port: 1 } })
  t.match(probesOf({ probes: [] }, check), [{ purpose: 'readiness', command: { arguments: ['a'] }, graceMs: 3, failures: 4 }])
  t.same(probesOf({ probes: [own] }, check), [own])
  t.same(probesOf({ probes: [] }, undefined), [])
})
