import fc from 'fast-check'
import t from 'tap'
import { type CpusetClaim, formatCores, parseCores, planCpusets } from '../../isolators/cgroup2/cpuset.ts'
import { fuzzRuns } from '../support/fuzz-runs.ts'

const claim = (containerId: string, exclusiveCores = 0, has: readonly number[] = []): CpusetClaim => ({
  containerId,
  exclusiveCores,
  memoryNodes: '',
  has
})
const inNode = (of: CpusetClaim, within: readonly number[]): CpusetClaim => ({ ...of, within })
const plan = (cores: readonly number[], ...claims: readonly CpusetClaim[]) =>
  Object.fromEntries([...(planCpusets(cores, claims) ?? [['', ['no']]])].map(([id, own]) => [id, formatCores(own as number[])]))

t.test('who asks for cores gets them from the upper end, and everybody else the rest', async (t) => {
  t.same(plan([0, 1, 2, 3], claim('a'), claim('b', 2), claim('c')), { a: '0,1', b: '2,3', c: '0,1' })
  t.same(plan([0, 1, 2, 3], claim('a')), { a: '0,1,2,3' })
})

t.test('what somebody has stays', async (t) => {
  t.same(plan([0, 1, 2, 3], claim('new', 1), claim('old', 1, [3])), { new: '2', old: '3' })
  t.same(plan([0, 1, 2, 3], claim('shrunk', 1, [2, 3])), { shrunk: '3' })
})

t.test('one core at least is left', async (t) => {
  t.equal(planCpusets([0, 1], [claim('a', 2)]), undefined)
  t.equal(planCpusets([0, 1], [claim('a', 1), claim('b', 1)]), undefined)
})

t.test('who asks for a NUMA node gets cores of it, own ones and shared ones', async (t) => {
  const [node0, node1] = [
    [0, 1],
    [2, 3]
  ]
  const claims = [inNode(claim('own', 1), node0), inNode(claim('near'), node0), inNode(claim('far'), node1), claim('any')]
  t.same(plan([0, 1, 2, 3], ...claims), { own: '1', near: '0', far: '2,3', any: '0,2,3' })
  t.same(plan([0, 1, 2, 3], inNode(claim('moved', 1, [3]), node0)), { moved: '1' }, 'what it has elsewhere is no claim')
  t.same(plan([0, 1], inNode(claim('left'), []), claim('any')), { left: '0,1', any: '0,1' }, 'its node has gone since')
  t.equal(planCpusets([0, 1, 2, 3], [inNode(claim('own', 2), node0), inNode(claim('near'), node0)]), undefined)
})

t.test('no core is ever two containers’ own, whatever was before', async () => {
  const some = fc.record({
    exclusiveCores: fc.integer({ min: 0, max: 3 }),
    has: fc.uniqueArray(fc.integer({ min: 0, max: 9 }), { maxLength: 3 })
  })
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 10 }), fc.array(some, { maxLength: 6 }), (count, given) => {
      const cores = Array.from({ length: count }, (_, i) => i)
      const claims = given.map((c, i) => ({ ...c, containerId: String(i), memoryNodes: '' }))
      const planned = planCpusets(cores, claims)
      const wanted = claims.reduce((sum, c) => sum + c.exclusiveCores, 0)
      if (planned === undefined) return wanted >= count
      const own = claims.filter((c) => c.exclusiveCores > 0).map((c) => planned.get(c.containerId) ?? [])
      const taken = own.flat()
      const shared = claims.filter((c) => c.exclusiveCores === 0).map((c) => planned.get(c.containerId) ?? [])
      return (
        new Set(taken).size === taken.length &&
        claims.every((c) => c.exclusiveCores === 0 || planned.get(c.containerId)?.length === c.exclusiveCores) &&
        shared.every((cores) => cores.length === count - taken.length && cores.every((core) => !taken.includes(core)))
      )
    }),
    { numRuns: fuzzRuns(200) }
  )
})

t.test('lists of the kernel', async (t) => {
  t.same(parseCores('0-3,8\n'), [0, 1, 2, 3, 8])
  t.same(parseCores('\n'), [])
})
