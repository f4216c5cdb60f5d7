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
