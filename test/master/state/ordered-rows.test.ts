import fc from 'fast-check'
import t from 'tap'
import { OrderedRows, rowBytes } from '../../../master/state/ordered-rows.ts'

t.test('rows behave as a sorted map that knows its bytes', async (t) => {
  const key = fc.constantFrom('a', 'aa', 'ab', 'b', 'é', '😀', 'task/1', 'task/10', 'task/2')
  const step = fc.record({ key, remove: fc.boolean(), size: fc.nat(9) })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.constantFrom('', 'a', 'task/', 'task/1', 'zz'), (steps, prefix) => {
      const rows = new OrderedRows()
      const model = new Map<string, number>()
      for (const { key, remove, size } of steps) {
        if (remove) rows.delete(key)
        else rows.set({ key, value: new Uint8Array(size), version: 1 })
        if (remove) model.delete(key)
        else model.set(key, size)
      }
      const keys = [...model.keys()].sort()
      const bytes = keys.reduce((sum, k) => sum + rowBytes(k, new Uint8Array(model.get(k) ?? 0)), 0)
      const scanned = [...rows.scan(prefix)].map((r) => r.key)
      const expected = keys.filter((k) => k.startsWith(prefix))
      return rows.size === model.size && rows.bytes === bytes && JSON.stringify(scanned) === JSON.stringify(expected)
    }),
    { numRuns: 500 }
  )
  t.pass()
})

t.test('values stay what they are, whatever is written over the others', async (t) => {
  const step = fc.record({ key: fc.nat(40), remove: fc.boolean(), size: fc.oneof(fc.nat(300), fc.constant(3_000)) })
  fc.assert(
    fc.property(fc.array(step, { minLength: 50, maxLength: 400 }), (steps) => {
      const rows = new OrderedRows()
      const model = new Map<string, Buffer>()
      for (const [version, { key: number, remove, size }] of steps.entries()) {
        const key = `k${number}`
        const value = Buffer.alloc(size, version)
        if (remove) rows.delete(key)
        else rows.set({ key, value, version })
        if (remove) model.delete(key)
        else model.set(key, Buffer.from(value))
        value.fill(0xee)
      }
      const kept = rows.all()
      return kept.length === model.size && kept.every(({ key, value }) => model.get(key)?.equals(value) === true)
    }),
    { numRuns: 300 }
  )
  t.pass()
})

t.test('the few rows that are left of many do not keep their memory', async (t) => {
  const rows = new OrderedRows()
  const keys = Array.from({ length: 4_000 }, (_, i) => `k${i}`)
  for (const [i, key] of keys.entries()) rows.set({ key, value: Buffer.alloc(100, i), version: i })
  for (const [i, key] of keys.entries()) if (i % 40 !== 0) rows.delete(key)
  const left = rows.all()
  const memory = [...new Set(left.map(({ value }) => value.buffer))]
  t.equal(left.length, 100)
  t.ok(left.every(({ value, version }) => Buffer.alloc(100, version).equals(value)))
  const bytes = memory.reduce((sum, { byteLength }) => sum + byteLength, 0)
  t.ok(bytes <= 6 * 8 * 1024, `${bytes} bytes for 10,000`)
})
