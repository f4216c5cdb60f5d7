import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import t from 'tap'
import { LedgerState } from '../../../agent/ledger/view.ts'
import { completeMessage, type Init } from '../../../proto/codec.ts'
import type { LedgerRecord } from '../../../proto/gen/messages.ts'
import { containerId, objectRow, statusRow, taskRow } from './support.ts'

const n = fc.integer({ min: 1, max: 4 })
const record: fc.Arbitrary<Init<LedgerRecord>> = fc.oneof(
  n.map((c) => taskRow(c)),
  fc
    .tuple(n, fc.constantFrom('intent', 'done', 'released'), fc.constantFrom('a', 'b'))
    .map(([c, phase, id]) => objectRow(c, phase, id)),
  n.map((c) => statusRow(c, 0)),
  fc.nat(20).map((back) => ({ acknowledged: { number: back } })),
  n.map((c) => ({ kill: { containerId: containerId(c), policy: null } })),
  n.map((c) => ({ forget: { containerId: containerId(c) } })),
  fc.constant({ quarantine: { file: 'quarantine-1.bin', offset: 1, bytes: 2, why: 'w' } }),
  fc.nat(9).map((epoch) => ({ head: { format: 2, agentId: 'a', clusterId: 'c', epoch, version: 'v' } })),
  fc.constantFrom('done', 'released').map((phase) => ({ object: { kind: 'layer', id: 'l', phase } }) as const)
)

/** Statuses get ascending numbers; an acknowledgement tells how far back the status is that it is for. */
function numbered(one: Init<LedgerRecord>, i: number): Init<LedgerRecord> {
  if (one.status) return { status: { ...one.status, number: i } }
  if (one.acknowledged) return { acknowledged: { number: Math.max(1, i - (one.acknowledged.number ?? 0)) } }
  return one
}

const plain = (state: LedgerState): unknown => ({
  head: state.head,
  next: state.nextStatusNumber,
  quarantined: state.quarantined,
  objects: Object.fromEntries(state.objects),
  tasks: Object.fromEntries([...state.tasks].map(([id, task]) => [id, { ...task, objects: Object.fromEntries(task.objects) }]))
})

t.test('a snapshot leads to the same state as all the records before it', async (t) => {
  fc.assert(
    fc.property(fc.array(record, { maxLength: 60 }), (records) => {
      const all = new LedgerState()
      for (const [i, one] of records.entries()) all.apply(completeMessage('LedgerRecord', numbered(one, i + 1)))
      const restored = new LedgerState()
      for (const fact of all.facts()) restored.apply(completeMessage('LedgerRecord', fact))
      return isDeepStrictEqual(plain(restored), plain(all))
    }),
    { numRuns: 500 }
  )
  t.pass('held')
})

t.test('an object is known from its intent to its release', async (t) => {
  const state = new LedgerState()
  const apply = (one: Init<LedgerRecord>): void => state.apply(completeMessage('LedgerRecord', one))
  apply(taskRow(1))
  apply(objectRow(1, 'intent', 'a'))
  apply(objectRow(1, 'done', 'a'))
  t.equal(state.tasks.get(containerId(1))?.objects.get('bundle:a')?.phase, 'done')
  apply(objectRow(1, 'released', 'a'))
  t.equal(state.tasks.get(containerId(1))?.objects.size, 0)
})

t.test('records of a container whose row was lost are kept under a row without a group', async (t) => {
  const state = new LedgerState()
  state.apply(completeMessage('LedgerRecord', objectRow(1, 'done')))
  t.match(state.tasks.get(containerId(1))?.row, { group: null, containerId: containerId(1) })
  state.apply(completeMessage('LedgerRecord', objectRow(2, 'released')))
  t.notOk(state.tasks.has(containerId(2)))
})
