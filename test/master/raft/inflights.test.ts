import fc from 'fast-check'
import t from 'tap'
import { Inflights } from '../../../master/raft/inflights.ts'

type Move =
  | { readonly kind: 'add'; readonly bytes: number }
  | { readonly kind: 'free'; readonly back: number }
  | { readonly kind: 'reset' }

const move: fc.Arbitrary<Move> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('add' as const), bytes: fc.integer({ min: 0, max: 9 }) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('free' as const), back: fc.integer({ min: 0, max: 12 }) }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'reset' as const }) }
)

t.test('the ring holds what a plain list would', async () => {
  const limits = fc.record({ messages: fc.integer({ min: 1, max: 12 }), bytes: fc.integer({ min: 1, max: 40 }) })
  fc.assert(
    fc.property(limits, fc.array(move, { maxLength: 80 }), ({ messages, bytes }, moves) => {
      const inflights = new Inflights(messages, bytes)
      let list: { index: number; bytes: number }[] = []
      let index = 0
      const isFull = (): boolean => list.length === messages || list.reduce((sum, one) => sum + one.bytes, 0) >= bytes
      for (const one of moves) {
        if (one.kind === 'add' && !isFull()) {
          index++
          inflights.add(index, one.bytes)
          list.push({ index, bytes: one.bytes })
        } else if (one.kind === 'free') {
          inflights.freeTo(index - one.back)
          list = list.filter((each) => each.index > index - one.back)
        } else if (one.kind === 'reset') {
          inflights.reset()
          list = []
        }
        if (inflights.count !== list.length || inflights.isFull() !== isFull()) return false
      }
      return true
    }),
    { numRuns: 500 }
  )
})

t.test('nothing is added to full inflights', async (t) => {
  const inflights = new Inflights(1, 100)
  inflights.add(1, 1)
  t.throws(() => inflights.add(2, 1), /invariant/)
})
