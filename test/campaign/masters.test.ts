import t from 'tap'
import { checkKey } from '../linearizability/checker.ts'
import type { Operation } from '../linearizability/history.ts'
import { type NameAction, nameModel } from './masters/model.ts'
import { planOf, stormMs } from './masters/plan.ts'

t.test('a seed is one storm, and different seeds bring every kind of fault', async (t) => {
  t.same(planOf(7), planOf(7))
  const plans = Array.from({ length: 200 }, (_, seed) => planOf(seed))
  t.equal(new Set(plans.flatMap((plan) => plan.faults.map((fault) => fault.kind))).size, 20)
  t.ok(plans.every((plan) => plan.faults.every((fault) => fault.atMs + 1_500 <= stormMs)))
})

const history = (actions: readonly NameAction[]): readonly Operation<NameAction>[] =>
  actions.map((action, i) => ({ key: 'a', action, call: 2 * i, return: 2 * i + 1 }))
const verdict = (...actions: readonly NameAction[]) => checkKey(history(actions), nameModel, 10_000)

t.test('a lost task, one that comes back and one that is taken twice are seen', async (t) => {
  const created: NameAction = { kind: 'create', value: 1, outcome: 'created' }
  const gone: NameAction = { kind: 'remove', outcome: 'gone' }
  t.equal(verdict(created, { kind: 'read', saw: 1 }, gone, { kind: 'read', saw: 0 }, gone), 'linearizable')
  t.equal(verdict(created, { kind: 'read', saw: 0 }), 'violated')
  t.equal(verdict(created, gone, { kind: 'read', saw: 1 }), 'violated')
  t.equal(verdict(created, { kind: 'create', value: 2, outcome: 'created' }), 'violated')
  t.equal(verdict({ kind: 'create', value: 2, outcome: 'taken' }), 'violated')
  t.equal(verdict(created, { kind: 'remove', outcome: 'missing' }), 'violated')
})

t.test('a call of which nobody knows may have taken effect late, or never', async (t) => {
  const lost = { kind: 'create', value: 1, outcome: 'unknown' } as const
  const reads = (saw: readonly number[]) => [
    { key: 'a', action: lost, call: 0, return: Number.POSITIVE_INFINITY },
    ...saw.map((one, i) => ({ key: 'a', action: { kind: 'read', saw: one } as const, call: 2 * i + 1, return: 2 * i + 2 }))
  ]
  for (const saw of [
    [0, 0],
    [0, 1],
    [1, 1]
  ])
    t.equal(checkKey(reads(saw), nameModel, 10_000), 'linearizable')
  t.equal(checkKey(reads([1, 0]), nameModel, 10_000), 'violated')
})
