import fc from 'fast-check'
import t from 'tap'
import { type ChangeBase, changeSimply, enterJoint, leaveJoint, restoreConfiguration } from '../../../master/raft/changer.ts'
import type { ConfChange, ConfChangeType, Transition } from '../../../master/raft/conf-change.ts'
import { decodeConfChange, encodeConfChange, encodeSingleChange } from '../../../master/raft/conf-change-codec.ts'
import { noData } from '../../../master/raft/entry.ts'
import { jointVoteResult } from '../../../master/raft/quorum.ts'
import { type Configuration, confStateOf, emptyConfiguration, isJoint } from '../../../master/raft/tracker.ts'

const types: readonly ConfChangeType[] = ['add-voter', 'remove', 'update', 'add-learner']
const transitions: readonly Transition[] = ['auto', 'implicit', 'explicit']
const id = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER })
const single = fc.record({ type: fc.constantFrom(...types), nodeId: id })
const few = fc.array(fc.record({ type: fc.constantFrom(...types), nodeId: fc.integer({ min: 1, max: 6 }) }), { maxLength: 4 })
const change: fc.Arbitrary<ConfChange> = fc.record({
  transition: fc.constantFrom(...transitions),
  changes: fc.array(single, { maxLength: 5 }),
  context: fc.uint8Array({ maxLength: 300 })
})

t.test('a change is read as it was written', async (t) => {
  fc.assert(
    fc.property(change, (one) => {
      const { type, data } = encodeConfChange(one)
      const read = decodeConfChange(type, data)
      return (
        JSON.stringify({ ...read, context: [...(read?.context ?? [])] }) === JSON.stringify({ ...one, context: [...one.context] })
      )
    })
  )
  fc.assert(
    fc.property(single, (one) => {
      const { type, data } = encodeSingleChange(one)
      return JSON.stringify(decodeConfChange(type, data)?.changes) === JSON.stringify([one])
    })
  )
  t.strictSame(decodeConfChange('conf-change-v2', noData), { transition: 'auto', changes: [], context: noData })
})

t.test('bytes that are no change are told apart, never thrown at the one who applies them', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (data) => {
      for (const type of ['conf-change', 'conf-change-v2'] as const) {
        for (const one of decodeConfChange(type, data)?.changes ?? []) if (!Number.isSafeInteger(one.nodeId)) return false
      }
      return true
    }),
    { numRuns: 2000 }
  )
  t.equal(decodeConfChange('conf-change-v2', Uint8Array.of(0x12, 0x05, 0x08)), undefined)
  t.equal(decodeConfChange('conf-change', Uint8Array.of(0x10, 0x09)), undefined)
  t.equal(decodeConfChange('normal', noData), undefined)
})

const limits = { maxMessages: 4, maxBytes: 100 }

/** All ways in which the voters of 1 to 6 can split; true when both configurations can win with nobody in common. */
function canSplit(a: Configuration, b: Configuration): boolean {
  for (let bits = 0; bits < 64; bits++) {
    const side = (yes: number) =>
      new Map([1, 2, 3, 4, 5, 6].map((i) => [i, Math.floor(bits / 2 ** (i - 1)) % 2 === yes] as const))
    if (jointVoteResult(a.voters, side(1)) === 'won' && jointVoteResult(b.voters, side(0)) === 'won') return true
  }
  return false
}

t.test('no two configurations that follow each other can elect two leaders', async (t) => {
  const step = fc.record({ kind: fc.constantFrom('simple', 'enter', 'leave'), changes: few })
  let accepted = 0
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
      let base: ChangeBase = { config: emptyConfiguration, progress: new Map(), lastIndex: 1, limits }
      const first = changeSimply(base, [{ type: 'add-voter', nodeId: 1 }])
      if (!first.ok) return false
      base = { ...base, config: first.config, progress: first.progress }
      for (const { kind, changes } of steps) {
        const before = JSON.stringify([base.config, [...base.progress]])
        const changed =
          kind === 'simple' ? changeSimply(base, changes) : kind === 'enter' ? enterJoint(base, false, changes) : leaveJoint(base)
        if (JSON.stringify([base.config, [...base.progress]]) !== before) return false
        if (!changed.ok) continue
        accepted++
        if (changed.config.voters.incoming.length === 0 || canSplit(base.config, changed.config)) return false
        const restored = restoreConfiguration(confStateOf(changed.config), 1, limits)
        if (JSON.stringify(restored.config) !== JSON.stringify(changed.config)) return false
        if (restored.progress.size !== changed.progress.size || isJoint(changed.config) !== (kind === 'enter')) return false
        base = { ...base, config: changed.config, progress: changed.progress }
      }
      return true
    }),
    { numRuns: 300 }
  )
  t.ok(accepted > 100, `${accepted} changes were accepted`)
})
