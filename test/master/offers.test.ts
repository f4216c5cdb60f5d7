import t from 'tap'
import { Acknowledgements } from '../../master/acknowledgements.ts'
import { Offers } from '../../master/offers.ts'
import { completeMessage } from '../../proto/codec.ts'
import { scalar, scalarOf } from '../../proto/resources.ts'

const made = (offers: Offers, agentId: string, frameworkId = 'f', nowMs = 0) =>
  offers.make(completeMessage('Offer', { agentId, frameworkId, role: '*', resources: [scalar('cpus', 100)] }), nowMs)

t.test('an offer is used up once: accepted, declined, rescinded or timed out', async (t) => {
  const offers = new Offers({ timeoutMs: 10 })
  const one = made(offers, 'a')
  const two = made(offers, 'a')
  t.equal(
    scalarOf(offers.take('f', [one.offerId, two.offerId, one.offerId]).resources, 'cpus'),
    200,
    'offers of one agent add up'
  )
  t.throws(() => offers.take('f', [one.offerId]), { code: 'conflict' })
  const three = made(offers, 'a')
  t.same(offers.decline('g', [three.offerId]), [], 'not by another framework')
  t.equal(offers.decline('f', [three.offerId, 'unknown']).length, 1)
  const four = made(offers, 'a')
  t.same(offers.rescindAgent('b'), [])
  t.same(offers.rescindAgent('a'), [four])
  const five = made(offers, 'a', 'f', 5)
  t.same(offers.rescindExpired(14), [])
  t.same(offers.rescindExpired(15), [five])
  made(offers, 'a', 'g')
  t.equal(offers.rescindFramework('g').length, 1)
  t.equal(offers.size, 0)
})

t.test('offers are taken all or none', async (t) => {
  const offers = new Offers({ timeoutMs: 10 })
  const mine = made(offers, 'a')
  const there = made(offers, 'b')
  const theirs = made(offers, 'a', 'g')
  t.throws(() => offers.take('f', [mine.offerId, there.offerId]), { code: 'invalid' })
  t.throws(() => offers.take('f', [mine.offerId, theirs.offerId]), { code: 'conflict' })
  t.throws(() => offers.take('f', []), { code: 'conflict' })
  t.equal(offers.size, 3)
  t.equal(scalarOf(offers.offeredOn('a'), 'cpus'), 200)
})

t.test('acknowledgements leave in the order of coming', async (t) => {
  const sent: number[] = []
  const acknowledgements = new Acknowledgements((n) => sent.push(n))
  for (const n of [5, 6, 7]) acknowledgements.received(n)
  acknowledgements.ready(6)
  acknowledgements.received(6)
  t.same(sent, [])
  acknowledgements.ready(5)
  t.same(sent, [5, 6])
  acknowledgements.ready(7)
  acknowledgements.ready(7)
  t.same(sent, [5, 6, 7])
})
