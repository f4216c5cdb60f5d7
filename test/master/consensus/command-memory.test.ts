import fc from 'fast-check'
import t from 'tap'
import { CommandMemory } from '../../../master/consensus/command-memory.ts'

t.test('commands stay what they are, whatever becomes of the buffers that they came in', async (t) => {
  const sizes = fc.array(fc.oneof(fc.nat(600), fc.constantFrom(4_095, 4_096, 70_000)), { minLength: 1, maxLength: 200 })
  fc.assert(
    fc.property(sizes, (drawn) => {
      const memory = new CommandMemory()
      const kept = drawn.map((bytes, i) => {
        const came = Buffer.alloc(bytes, i)
        const there = memory.keep(came)
        if (there !== came) came.fill(0xee)
        return there
      })
      return kept.every((bytes, i) => Buffer.alloc(drawn[i] ?? 0, i).equals(bytes))
    })
  )
  t.pass()
})

t.test('small commands share no memory with anything else', async (t) => {
  const memory = new CommandMemory()
  const kept = Array.from({ length: 1_000 }, () => memory.keep(Buffer.from('a command')))
  t.equal(new Set(kept.map(({ buffer }) => buffer)).size, 1)
  t.not(kept[0]?.buffer, Buffer.from('another').buffer)
})
