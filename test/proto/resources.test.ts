import fc from 'fast-check'
import t from 'tap'
import type { Resource } from '../../proto/gen/messages.ts'
import {
  addResources,
  checkResource,
  containsResources,
  describeResources,
  fromMesosScalar,
  items,
  ranges,
  scalar,
  scalarOf,
  subtractResources,
  toMesosScalar
} from '../../proto/resources.ts'

const span = fc.tuple(fc.nat(200), fc.nat(20)).map(([begin, length]) => ({ begin, end: begin + length }))
const more = fc.record({
  revocable: fc.boolean(),
  reservations: fc.constantFrom([], [{ role: 'web', principal: 'ann', labels: [{ key: 'a', value: '1' }] }])
})
const resource: fc.Arbitrary<Resource> = fc.oneof(
  fc.tuple(fc.constantFrom('cpus', 'mem', 'disk'), fc.nat(100_000), more).map(([n, v, m]) => scalar(n, v, m)),
  fc.tuple(fc.array(span, { maxLength: 4 }), more).map(([s, m]) => ranges('ports', s, m)),
  fc.tuple(fc.array(fc.constantFrom('a', 'b', 'c', 'd')), more).map(([i, m]) => items('zones', i, m))
)
const bag = fc.array(resource, { maxLength: 6 })
const text = (r: readonly Resource[]): string => JSON.stringify(r)

t.test('addition does not depend on order, and nothing is its zero', async () => {
  fc.assert(fc.property(bag, bag, (a, b) => text(addResources(a, b)) === text(addResources(b, a))))
  fc.assert(
    fc.property(
      bag,
      bag,
      bag,
      (a, b, c) => text(addResources(addResources(a, b), c)) === text(addResources(a, addResources(b, c)))
    )
  )
  fc.assert(fc.property(bag, (a) => text(addResources(a, [])) === text(addResources([], a))))
})

t.test('what was added is contained and can be taken away again', async () => {
  fc.assert(fc.property(bag, bag, (a, b) => containsResources(addResources(a, b), b) && containsResources(addResources(a, b), a)))
  const scalars = fc.array(fc.tuple(fc.constantFrom('cpus', 'mem'), fc.nat(1000)).map(([n, v]) => scalar(n, v)))
  fc.assert(fc.property(scalars, scalars, (a, b) => text(subtractResources(addResources(a, b), b)) === text(addResources(a, []))))
})

t.test('ranges and sets are taken away without overlap', async (t) => {
  const all = [ranges('ports', [{ begin: 31000, end: 32000 }])]
  const rest = subtractResources(all, [ranges('ports', [{ begin: 31005, end: 31006 }])])
  t.equal(describeResources(rest), 'ports 31000-31004,31007-32000')
  t.notOk(containsResources(rest, [ranges('ports', [{ begin: 31004, end: 31005 }])]))
  t.same(addResources(rest, [ranges('ports', [{ begin: 31005, end: 31006 }])]), all)
  t.equal(describeResources(subtractResources([items('gpus', ['a', 'b'])], [items('gpus', ['a'])])), 'gpus {b}')
  const amounts = [scalar('mem', 999 * 1024 ** 3), scalar('disk', 1.5 * 1024 ** 4), scalar('cpus', 500)]
  t.equal(describeResources(amounts), 'memory 999 GB, disk 1.5 TB, cpus 0.5')
})

t.test('a reservation, a disk or a flag keeps resources apart', async (t) => {
  const free = scalar('cpus', 2000)
  for (const other of [
    { reservations: [{ role: 'web' }] },
    { disk: { persistenceId: 'v1' } },
    { revocable: true },
    { shared: true },
    { providerId: 'csi' }
  ]) {
    const bound = scalar('cpus', 1000, other)
    t.equal(addResources([free], [bound]).length, 2)
    t.notOk(containsResources([free], [bound]), JSON.stringify(other))
  }
})

t.test('there are no negative resources', async (t) => {
  t.throws(() => subtractResources([scalar('cpus', 1000)], [scalar('cpus', 1001)]), { code: 'invalid' })
  t.throws(() => checkResource(scalar('cpus', -1)), { code: 'invalid' })
  t.throws(() => checkResource(ranges('ports', [{ begin: 5, end: 4 }])), { code: 'invalid' })
  t.throws(() => addResources([scalar('mem', Number.MAX_SAFE_INTEGER)], [scalar('mem', 1)]), { code: 'invalid' })
})

t.test('a Mesos double survives the way here and back to its thousandths', async (t) => {
  fc.assert(
    fc.property(fc.constantFrom('cpus', 'mem', 'gpus'), fc.nat(10_000_000), (name, thousandths) => {
      const value = thousandths / 1000
      return toMesosScalar(scalar(name, fromMesosScalar(name, value))) === value
    })
  )
  t.equal(fromMesosScalar('mem', 64), 64 * 1024 * 1024)
  t.equal(fromMesosScalar('cpus', 0.1 + 0.2), 300)
  for (const wrong of [-1, Number.NaN, Number.POSITIVE_INFINITY, 1e300])
    t.throws(() => fromMesosScalar('cpus', wrong), { code: 'invalid' })
})

t.test('the sum of a scalar covers all its forms', async (t) => {
  t.equal(scalarOf([scalar('cpus', 500), scalar('cpus', 250, { revocable: true }), scalar('mem', 7)], 'cpus'), 750)
})
