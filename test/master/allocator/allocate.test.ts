import fc from 'fast-check'
import t from 'tap'
import { type AllocationInput, allocate } from '../../../master/allocator/allocate.ts'
import { dominantShare } from '../../../master/allocator/shares.ts'
import { addResources, containsResources, type Resources, scalar } from '../../../proto/resources.ts'

const gib = 1024 * 1024 * 1024
const host = (cpus: number, memGib: number): Resources => [scalar('cpus', cpus), scalar('mem', memGib * gib)]

const given = (more: Partial<AllocationInput>): AllocationInput => ({
  total: host(4_000, 8),
  candidates: [{ agentId: 'a', free: host(2_000, 4) }],
  claimants: [{ frameworkId: 'f', role: '*', held: [] }],
  refusals: [],
  weights: new Map(),
  nowMs: 1_000,
  ...more
})

const whoGets = (input: AllocationInput): readonly string[] => allocate(input).map((g) => `${g.agentId}:${g.frameworkId}`)

t.test('the dominant share is the largest part of any one resource', async (t) => {
  t.equal(dominantShare(host(1_000, 4), host(4_000, 8)), 0.5)
  t.equal(dominantShare(host(1_000, 4), host(4_000, 8), 2), 0.25, 'a weight of two halves it')
  t.equal(dominantShare([], host(4_000, 8)), 0)
  t.equal(dominantShare([scalar('gpus', 1_000)], host(4_000, 8)), 0, 'what the cluster does not have weighs nothing')
})

t.test('who is offered what', async (t) => {
  const two = [
    { frameworkId: 'rich', role: '*', held: host(1_000, 1) },
    { frameworkId: 'poor', role: '*', held: [] }
  ]
  const agents = [
    { agentId: 'a', free: host(2_000, 4) },
    { agentId: 'b', free: host(2_000, 4) }
  ]
  const refusal = { frameworkId: 'f', role: '*', agentId: 'a', resources: host(2_000, 4), untilMs: 2_000 }
  const table: readonly [string, AllocationInput, readonly string[]][] = [
    ['one framework gets all that is free', given({}), ['a:f']],
    ['nobody who wants, nobody who gets', given({ claimants: [] }), []],
    ['the one with the smaller share is asked first', given({ claimants: two }), ['a:poor']],
    ['shares grow within a round', given({ claimants: two, candidates: agents }), ['a:poor', 'b:rich']],
    ['crumbs are not offered', given({ candidates: [{ agentId: 'a', free: [scalar('cpus', 5), scalar('mem', 1024)] }] }), []],
    ['memory alone is worth an offer', given({ candidates: [{ agentId: 'a', free: [scalar('mem', gib)] }] }), ['a:f']],
    ['a refusal keeps the same resources away', given({ refusals: [refusal] }), []],
    ['a refusal is over at its time', given({ refusals: [refusal], nowMs: 2_000 }), ['a:f']],
    ['more than was refused is offered at once', given({ refusals: [{ ...refusal, resources: host(1_000, 4) }] }), ['a:f']],
    ['a refusal of another agent does not count', given({ refusals: [{ ...refusal, agentId: 'b' }] }), ['a:f']],
    ['a refusal for another role does not count', given({ refusals: [{ ...refusal, role: 'x' }] }), ['a:f']],
    ['a refusal by another framework does not count', given({ refusals: [{ ...refusal, frameworkId: 'g' }] }), ['a:f']]
  ]
  for (const [name, input, wanted] of table) t.same(whoGets(input), wanted, name)
})

t.test('roles come before frameworks', async (t) => {
  const claimants = [
    { frameworkId: 'small', role: 'busy', held: [] },
    { frameworkId: 'large', role: 'busy', held: host(3_000, 1) },
    { frameworkId: 'other', role: 'idle', held: host(1_000, 1) }
  ]
  t.same(whoGets(given({ claimants })), ['a:other'], 'the role with the smaller share, though another framework holds less')
  t.same(whoGets(given({ claimants, weights: new Map([['busy', 8]]) })), ['a:small'], 'weights count')
})

t.test('reserved resources go to their role and the roles below it', async (t) => {
  const reserved = scalar('cpus', 1_000, { reservations: [{ role: 'db' }] })
  const free = [reserved, scalar('mem', gib)]
  const of = (role: string): Resources =>
    allocate(given({ candidates: [{ agentId: 'a', free }], claimants: [{ frameworkId: 'f', role, held: [] }] }))[0]?.resources ??
    []
  t.equal(of('db').length, 2)
  t.equal(of('db/east').length, 2)
  t.same(
    of('web').map((r) => r.name),
    ['mem']
  )
  t.same(
    of('dbx').map((r) => r.name),
    ['mem']
  )
})

t.test('no agent is ever offered out beyond what is free, and each at most once a round', async () => {
  const amount = fc.tuple(fc.integer({ min: 0, max: 4_000 }), fc.integer({ min: 0, max: 16 }))
  const claimant = fc.record({ frameworkId: fc.constantFrom('f', 'g', 'h'), role: fc.constantFrom('*', 'x'), held: amount })
  fc.assert(
    fc.property(fc.array(amount, { maxLength: 6 }), fc.array(claimant, { maxLength: 5 }), (free, claimants) => {
      const candidates = free.map(([c, m], i) => ({ agentId: `a${i}`, free: addResources([], host(c, m)) }))
      const grants = allocate(given({ candidates, claimants: claimants.map((c) => ({ ...c, held: host(...c.held) })) }))
      if (new Set(grants.map((g) => g.agentId)).size !== grants.length) return false
      return grants.every((g) => containsResources(candidates.find((c) => c.agentId === g.agentId)?.free ?? [], g.resources))
    })
  )
})
