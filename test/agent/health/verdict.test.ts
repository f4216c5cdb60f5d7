import t from 'tap'
import { beginHealth, type Health, isDue, isReady, takeResult } from '../../../agent/health/verdict.ts'
import { completeMessage, type Init } from '../../../proto/codec.ts'
import type { Probe } from '../../../proto/gen/messages.ts'

const probe = (init: Init<Probe>): Probe => completeMessage('Probe', init)
const startup = probe({ purpose: 'startup', failures: 2 })
const readiness = probe({ purpose: 'readiness', failures: 2, successes: 2 })
const liveness = probe({ purpose: 'liveness', failures: 3 })
const unknown = { startedUp: false, ready: false }

interface Case {
  readonly name: string
  readonly probes: readonly Probe[]
  readonly known?: typeof unknown
  /** `+` well, `-` not; each for the probe of its number in `probes`. */
  readonly results: string
  readonly ranMs?: number
  readonly ready: boolean
  readonly failed?: RegExp
}

const cases: readonly Case[] = [
  { name: 'nothing was asked yet', probes: [liveness], results: '', ready: false },
  { name: 'without probes', probes: [], results: '', ready: true },
  { name: 'alive once', probes: [liveness], results: '0+', ready: true },
  { name: 'two failures of three', probes: [liveness], results: '0+ 0- 0-', ready: true },
  {
    name: 'three failures in a row',
    probes: [liveness],
    results: '0+ 0- 0- 0-',
    ready: true,
    failed: /liveness probe failed 3 times in a row: sick/
  },
  { name: 'three failures, not in a row', probes: [liveness], results: '0- 0- 0+ 0-', ready: true },
  { name: 'one success of two', probes: [readiness], results: '0+', ready: false },
  { name: 'two successes', probes: [readiness], results: '0+ 0+', ready: true },
  { name: 'ready, then one failure', probes: [readiness], results: '0+ 0+ 0-', ready: true },
  { name: 'ready, then two: not ready, and no end', probes: [readiness], results: '0+ 0+ 0- 0-', ready: false },
  { name: 'ready again', probes: [readiness], results: '0+ 0+ 0- 0- 0+ 0+', ready: true },
  { name: 'a liveness result before the start-up probe', probes: [startup, liveness], results: '1- 1- 1-', ready: false },
  { name: 'started up', probes: [startup, liveness], results: '0- 0+ 1+', ready: true },
  {
    name: 'never started up',
    probes: [startup, liveness],
    results: '0- 0-',
    ready: false,
    failed: /startup probe failed 2 times/
  },
  { name: 'a start-up result too late', probes: [startup, liveness], results: '0+ 1+ 0- 0-', ready: true },
  {
    name: 'known to be ready',
    probes: [startup, readiness, liveness],
    known: { startedUp: true, ready: true },
    results: '',
    ready: true
  },
  {
    name: 'known to be ready, one failure',
    probes: [readiness],
    known: { startedUp: true, ready: true },
    results: '0-',
    ready: true
  },
  {
    name: 'known to be ready, and no longer',
    probes: [readiness],
    known: { startedUp: true, ready: true },
    results: '0- 0-',
    ready: false
  },
  {
    name: 'known to have started up',
    probes: [startup, liveness],
    known: { startedUp: true, ready: false },
    results: '0- 0- 1+',
    ready: true
  },
  {
    name: 'failures within the grace',
    probes: [probe({ ...liveness, graceMs: 10 })],
    ranMs: 9,
    results: '0- 0- 0- 0- 0-',
    ready: false
  },
  {
    name: 'failures after the grace',
    probes: [probe({ ...liveness, graceMs: 10 })],
    ranMs: 10,
    results: '0- 0- 0-',
    ready: false,
    failed: /liveness/
  },
  {
    name: 'failures within the grace of one that was well',
    probes: [probe({ ...liveness, graceMs: 10 })],
    ranMs: 1,
    results: '0+ 0- 0- 0-',
    ready: true,
    failed: /liveness/
  },
  {
    name: 'the default of three failures',
    probes: [probe({ purpose: 'liveness' })],
    results: '0- 0- 0-',
    ready: false,
    failed: /3 times/
  },
  {
    name: 'one is enough',
    probes: [probe({ purpose: 'liveness', failures: 1 })],
    results: '0-',
    ready: false,
    failed: /failed once: sick/
  }
]

for (const { name, probes, known = unknown, results, ranMs = 99_999, ready, failed } of cases) {
  t.test(`${name}: ${failed === undefined ? (ready ? 'ready' : 'not ready') : 'the attempt ends'}`, async (t) => {
    let health: Health = beginHealth(probes, known)
    const sentences: string[] = []
    for (const [at = '', sign] of results === '' ? [] : results.split(' ').map((r) => [r.slice(0, -1), r.slice(-1)] as const)) {
      const of = probes[Number(at)]
      if (of === undefined) throw new Error('no such probe')
      const step = takeResult(health, of, { ok: sign === '+', message: 'sick' }, ranMs)
      health = step.health
      if (step.failed !== undefined) sentences.push(step.failed)
    }
    t.equal(isReady(health), ready)
    if (failed === undefined) t.same(sentences, [])
    else t.match(sentences.at(-1), failed)
  })
}

t.test('the start-up probe runs alone until it succeeds, and never again', async (t) => {
  const before = beginHealth([startup, liveness], unknown)
  t.same([isDue(before, 'startup'), isDue(before, 'liveness'), isDue(before, 'readiness')], [true, false, false])
  const after = takeResult(before, startup, { ok: true, message: '' }, 0).health
  t.same([isDue(after, 'startup'), isDue(after, 'liveness'), isDue(after, 'readiness')], [false, true, true])
})
