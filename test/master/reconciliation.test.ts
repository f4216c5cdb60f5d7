import fc from 'fast-check'
import t from 'tap'
import { type Expected, reconcile } from '../../master/reconciliation.ts'
import { completeMessage } from '../../proto/codec.ts'
import type { TaskState } from '../../proto/gen/messages.ts'

const expected = (containerId: string, more: Partial<Expected> = {}): Expected => ({
  frameworkId: 'f',
  taskId: `t-${containerId}`,
  containerId,
  ended: false,
  delivered: true,
  held: false,
  ...more
})
const report = (containerId: string, state: TaskState) =>
  completeMessage('TaskReport', { frameworkId: 'f', taskId: `t-${containerId}`, containerId, state })

t.test('what was committed against what the ledger says', async (t) => {
  const taken = new Set(['t-c', 't-old'])
  const steps = (e: readonly Expected[], r: Parameters<typeof reconcile>[1]): readonly string[] =>
    reconcile(e, r, (_, taskId) => taken.has(taskId)).map((s) => s.kind)
  const table: readonly [string, readonly string[], readonly string[]][] = [
    ['both have it', steps([expected('c')], [report('c', 'running')]), ['adopt']],
    ['it ended while the agent was away', steps([expected('c')], [report('c', 'failed')]), ['adopt']],
    ['ended on both sides', steps([expected('c', { ended: true })], [report('c', 'finished')]), ['keep']],
    ['the master gave it up, it runs', steps([expected('c', { ended: true })], [report('c', 'running')]), ['kill']],
    ['the master never heard of it, it runs', steps([], [report('x', 'running')]), ['kill']],
    ['the master forgot it, it has ended', steps([], [report('x', 'finished')]), ['forget']],
    ['an earlier attempt of a task that stands elsewhere', steps([], [report('old', 'finished')]), ['keep']],
    ['the launch never arrived and can be repeated', steps([expected('c', { held: true, delivered: false })], []), ['resend']],
    ['the launch never arrived and its body is gone', steps([expected('c', { delivered: false })], []), ['drop']],
    ['it was there', steps([expected('c')], []), ['gone']],
    ['it ended and the agent has forgotten it', steps([expected('c', { ended: true })], []), []],
    ['a state that this build does not know counts as running', steps([], [report('x', 'unspecified_state')]), ['kill']]
  ]
  for (const [name, got, wanted] of table) t.same(got, wanted, name)
})

t.test('nothing that runs is ever forgotten, and everything committed is looked after', async () => {
  const id = fc.constantFrom('a', 'b', 'c', 'd')
  const e = fc.tuple(id, fc.boolean(), fc.boolean(), fc.boolean())
  const r = fc.tuple(id, fc.constantFrom<TaskState>('staging', 'running', 'finished', 'lost'))
  const unique = { selector: ([x]: readonly [string, ...unknown[]]) => x, maxLength: 4 }
  fc.assert(
    fc.property(fc.uniqueArray(e, unique), fc.uniqueArray(r, unique), (es, rs) => {
      const known = es.map(([c, ended, delivered, held]) => expected(c, { ended, delivered, held }))
      const reports = rs.map(([c, state]) => report(c, state))
      const steps = reconcile(known, reports, () => false)
      const forgotten = steps.flatMap((s) => (s.kind === 'forget' ? [s.report] : []))
      if (forgotten.some((f) => f.state === 'running' || f.state === 'staging')) return false
      const touched = new Set(steps.map((s) => ('report' in s ? s.report.containerId : s.containerId)))
      return known.every((k) => k.ended || touched.has(k.containerId)) && reports.every((x) => touched.has(x.containerId))
    })
  )
})
