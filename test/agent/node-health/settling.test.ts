import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { dangerousKinds, refusalOf } from '../../../agent/node-health/danger.ts'
import { type HealthMemory, hasDoubts, patienceOf, settle, shownIn } from '../../../agent/node-health/hysteresis.ts'
import { NodeHealth } from '../../../agent/node-health/monitor.ts'
import { newsOf, summaryOf } from '../../../agent/node-health/summary.ts'
import { type Check, type CheckPlan, PlanRunner, rowsOf, type Verdict } from '../../../agent/node-health/verdict.ts'
import { type Clock, systemClock } from '../../../base/clock.ts'
import { Fault } from '../../../base/fault.ts'
import { silentLog } from '../../../base/log.ts'
import { seededRandom } from '../../../base/random.ts'
import { until } from '../../support/until.ts'

const row = (verdict: Verdict, kind = 'memory', subject = ''): Check => ({
  kind,
  subject,
  verdict,
  reason: `seen ${verdict}`,
  remedy: 'do'
})

function shown(kind: string, ...looks: readonly Verdict[]): readonly string[] {
  let memory: HealthMemory = new Map()
  return looks.map((verdict) => {
    memory = settle(memory, [row(verdict, kind)])
    return shownIn(memory)[0]?.verdict ?? ''
  })
}

t.test('a peak is a warning, two looks in a row are a failure, and two make it end', async (t) => {
  t.same(patienceOf('memory'), { into: 2, outOf: 2 })
  t.same(shown('memory', 'OK', 'FAILURE', 'OK'), ['OK', 'WARNING', 'OK'])
  t.same(shown('memory', 'FAILURE', 'FAILURE', 'OK', 'FAILURE', 'OK', 'WARNING'), [
    'WARNING',
    'FAILURE',
    'FAILURE',
    'FAILURE',
    'FAILURE',
    'WARNING'
  ])
})

t.test('what cannot be a peak fails at once, and still ends only at the second look', async (t) => {
  t.same(shown('disk', 'FAILURE', 'OK', 'OK'), ['FAILURE', 'FAILURE', 'OK'])
  t.same(shown('disk', 'WARNING', 'UNKNOWN', 'OK'), ['WARNING', 'UNKNOWN', 'OK'], 'only failures have weight')
})

t.test('a row that is not looked at any more is gone; doubts ask for another look', async (t) => {
  const failed = settle(settle(new Map(), [row('FAILURE')]), [row('FAILURE')])
  t.equal(hasDoubts(failed), false)
  const better = settle(failed, [row('OK')])
  t.equal(hasDoubts(better), true)
  t.equal(shownIn(better)[0]?.reason, 'seen OK (was: seen FAILURE)')
  t.same(shownIn(settle(better, [])), [])
})

t.test('a failure keeps away the work it endangers, and nothing else does', async (t) => {
  t.match(refusalOf([row('OK'), row('FAILURE', 'disk', '/d')], 'launch'), /takes no new work: disk \/d: seen FAILURE/)
  t.match(refusalOf([row('FAILURE', 'images')], 'image-import'), /images/)
  t.equal(refusalOf([row('FAILURE', 'images')], 'launch'), undefined)
  t.equal(refusalOf([row('WARNING', 'disk'), row('UNKNOWN', 'memory'), row('FAILURE', 'network.dns')], 'launch'), undefined)
})

t.test('the manual tells of every kind of check', async (t) => {
  const manual = readFileSync(join(import.meta.dirname, '../../../docs/node-health.md'), 'utf8')
  const sources = [
    'agent',
    'budgets',
    'certificates',
    'clock',
    'disk',
    'entropy',
    'images',
    'kernel',
    'memory',
    'network',
    'pressure',
    'runtimes',
    'units'
  ]
  const kinds = sources.flatMap((name) => {
    const text = readFileSync(join(import.meta.dirname, `../../../agent/node-health/checks/${name}.ts`), 'utf8')
    return [...text.matchAll(/(?:rowsOf\(|kind: |judge\()'([a-z.]+)'/g)].map(([, kind = '']) => kind)
  })
  t.ok(kinds.length > 20, `${kinds.length} kinds`)
  for (const kind of [...new Set([...kinds, 'own', 'orphans', 'agent', 'health']), ...dangerousKinds])
    t.ok(manual.includes(`| \`${kind}\` |`), kind)
})

t.test('the master hears what is news, and figures alone are none', async (t) => {
  const summary = (...checks: readonly Check[]) => summaryOf({ verdict: 'OK', checks })
  t.equal(summary(), null, 'before the first look')
  t.match(summary(row('FAILURE', 'disk', '/d'), row('OK')), {
    refusesLaunches: true,
    problems: [{ kind: 'disk', reason: 'seen FAILURE' }]
  })
  const changed = { ...row('WARNING'), reason: 'other figures' }
  t.equal(newsOf(summary(row('WARNING'))), newsOf(summary(changed)))
  t.not(newsOf(summary(row('WARNING'))), newsOf(summary(row('FAILURE'))))
  t.not(newsOf(null), newsOf(summary(row('OK'))))
  t.equal(summary(...Array.from({ length: 50 }, (_, i) => row('WARNING', 'own', String(i))))?.problems?.length, 16)
})

t.test('facts that cannot be read are UNKNOWN, and a bug is not hidden', async (t) => {
  const plan = (run: () => Promise<readonly Check[]>): CheckPlan => ({ kind: 'x', run })
  const never = new AbortController().signal
  const failing = (e: unknown) => new PlanRunner().run([plan(() => Promise.reject(e))], never)
  t.match(await failing(Object.assign(new Error('EIO: broken'), { code: 'EIO' })), [{ verdict: 'UNKNOWN', reason: /EIO/ }])
  t.match(await failing(new Fault('timeout', 'took too long')), [{ verdict: 'UNKNOWN', reason: 'took too long' }])
  await t.rejects(failing(new TypeError('a bug')), TypeError)
})

t.test('a check that hangs holds up nobody, and is not asked again', async (t) => {
  const never = new AbortController().signal
  const runner = new PlanRunner()
  let asked = 0
  const hanging: CheckPlan = {
    kind: 'disk',
    deadlineMs: 1,
    run: () => {
      asked += 1
      return new Promise(() => undefined)
    }
  }
  const fine: CheckPlan = { kind: 'fine', run: async () => [rowsOf('fine').ok('here')] }
  t.match(await runner.run([hanging, fine], never), [
    { kind: 'disk', verdict: 'FAILURE', reason: 'gave no answer in time' },
    { kind: 'fine', verdict: 'OK' }
  ])
  t.match(await runner.run([hanging, fine], never), [{ reason: 'still gives no answer' }, { verdict: 'OK' }])
  t.equal(asked, 1)
})

/** A clock whose sleeps end when a test says so. */
function steppedClock(): Clock & { step(): void } {
  const waiting: (() => void)[] = []
  return {
    ...systemClock,
    sleep: (_ms, signal) =>
      new Promise((resolve, reject) => {
        waiting.push(resolve)
        signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
      }),
    step: () => {
      for (const go of waiting.splice(0)) go()
    }
  }
}

t.test('the node recovers by itself when the verdict does', async (t) => {
  let verdict: Verdict = 'OK'
  let thoroughLooks = 0
  const clock = steppedClock()
  const health = new NodeHealth(
    {
      quick: [{ kind: 'disk', run: async () => [row(verdict, 'disk')] }],
      thorough: async () => {
        thoroughLooks += 1
        return [row('OK', 'runtimes', 'runc')]
      },
      clock,
      random: seededRandom(1),
      log: silentLog
    },
    { everyMs: 1_000, onBroken: (e) => t.fail(String(e)) }
  )
  let changes = 0
  health.onChange(() => {
    changes += 1
  })
  await health.start()
  await until(() => health.report().checks.length > 0)
  t.equal(health.refusal('launch'), undefined)
  const looked = async (wanted: boolean) => {
    await until(() => {
      clock.step()
      return (health.refusal('launch') !== undefined) === wanted
    })
  }
  verdict = 'FAILURE'
  await looked(true)
  t.match(health.refusal('image-import'), /disk: seen FAILURE/)
  t.equal(health.report().verdict, 'FAILURE')
  verdict = 'OK'
  await looked(false)
  t.equal(changes, 2)
  const before = thoroughLooks
  await Promise.all([health.refresh(), health.refresh()])
  t.equal(thoroughLooks, before + 1, 'those who ask together share one look')
  await health.stop()
})
