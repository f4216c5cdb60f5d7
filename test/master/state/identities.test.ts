import t from 'tap'
import type { Init } from '../../../proto/codec.ts'
import type { Command } from '../../../proto/gen/messages.ts'
import { type Cluster, encoded, newCluster, reloaded } from './commands.ts'

/** A cluster at the level that has authorities. */
function certifying(): Cluster {
  const cluster = newCluster()
  cluster.does({ raiseFeatureLevel: { level: 2 } })
  return cluster
}

const authority = (digest: string, after = ''): Init<Command> => ({
  setAuthority: { after, authority: { digest, certificate: Uint8Array.of(1), sealedKey: 'sealed', notAfterMs: 9 } }
})
const token = (more: Init<NonNullable<Command['createJoinToken']>> = {}): Init<Command> => ({
  createJoinToken: { tokenId: 'k', secretDigest: 'd', role: 'agent', uses: 1, ttlMs: 100, ...more }
})
const admit = (nodeId: string, more: Init<NonNullable<Command['admitNode']>> = {}, serial = `s-${nodeId}`): Init<Command> => ({
  admitNode: { tokenId: 'k', secretDigest: 'd', node: { nodeId, role: 'agent', serials: [serial], notAfterMs: 1_000 }, ...more }
})
const renew = (presented: string, serial: string): Init<Command> => ({
  renewCertificate: { nodeId: 'n', presented, serial, notAfterMs: 2_000 }
})

t.test('before the level that knows them, none of these commands counts', async (t) => {
  const cluster = newCluster()
  for (const command of [authority('x'), token(), admit('n'), renew('a', 'b'), { removeNode: { nodeId: 'a' } }]) {
    t.match(cluster.does(command), { refused: true, code: 'unsupported' })
  }
})

t.test('one authority follows another only where it names it, and two are trusted at most', async (t) => {
  const cluster = certifying()
  t.match(cluster.does(authority('one', 'other')), { refused: true, code: 'conflict' })
  t.match(cluster.does(authority('one')), { refused: false })
  t.match(cluster.does(authority('two')), { refused: true, code: 'conflict' }, 'two leaders founded at once')
  t.match(cluster.does({ retireAuthority: { digest: 'one' } }), { refused: true, code: 'conflict' }, 'it signs')
  t.match(cluster.does(authority('two', 'one')), { refused: false })
  t.match(cluster.does(authority('three', 'two')), { refused: true, code: 'conflict' })
  t.match(cluster.does({ retireAuthority: { digest: 'one' } }), { refused: false })
  t.match(cluster.does({ retireAuthority: { digest: 'one' } }), { refused: true, code: 'not-found' })
  t.strictSame([...cluster.state.authorities.keys()], ['two'])
  const certificate = new Uint8Array(17_000)
  const large = { setAuthority: { after: 'two', authority: { digest: 'x', certificate, sealedKey: 's', notAfterMs: 9 } } }
  t.match(cluster.does(large), { refused: true, code: 'invalid', message: /over the limit/ })
})

t.test('a token is used up by as many nodes as it says, and ends by the time of the log', async (t) => {
  const cluster = certifying()
  cluster.does({ atMs: 50, ...token({ uses: 2 }) })
  t.match(cluster.does(token({ uses: 2 })), { refused: true, code: 'conflict' })
  t.match(cluster.does(admit('n1', { secretDigest: 'guessed' })), { refused: true, code: 'denied' })
  t.match(cluster.does(admit('n1')), { refused: false })
  t.match(cluster.does({ atMs: 149, ...admit('n2') }), { refused: false })
  t.match(cluster.does(admit('n3')), { refused: true, code: 'denied' }, 'twice, and no third time')
  cluster.does(token())
  t.match(cluster.does({ atMs: 249, ...admit('n3') }), { refused: true, code: 'denied' }, 'in its last millisecond it is over')
  cluster.does(token({ tokenId: 'l' }))
  t.notOk(cluster.state.joinTokens.has('k'), 'what is over is swept when another is made')
})

t.test('a token takes nobody’s place, and what was removed never comes back', async (t) => {
  const cluster = certifying()
  cluster.does({ atMs: 1, ...token({ uses: 9, ttlMs: 10_000 }) })
  cluster.does(admit('n'))
  t.match(cluster.does(admit('n', {}, 'other')), { refused: true, code: 'conflict', message: /certificate that is good/ })
  t.match(cluster.does({ atMs: 1_000, ...admit('n', {}, 'other') }), { refused: false }, 'it has expired')
  t.equal(cluster.state.joinTokens.get('k')?.usesLeft, 7, 'a refusal takes no use')
  t.match(cluster.does({ removeNode: { nodeId: 'n' } }), { refused: false })
  t.notOk(cluster.state.nodeIdentities.has('n'))
  t.match(cluster.does({ removeNode: { nodeId: 'n' } }), { refused: true, code: 'not-found' })
  cluster.does(admit('a'))
  cluster.does({ removeNode: { nodeId: 'a' } })
  t.equal(cluster.state.agents.get('a')?.condition, 'agent_gone')
  t.match(cluster.does(admit('a')), { refused: true, code: 'conflict', message: /removed for good/ })
})

t.test('a renewal needs a certificate that is good, and leaves that one good until the next', async (t) => {
  const cluster = certifying()
  cluster.does(token())
  cluster.does(admit('n', {}, 'one'))
  t.match(cluster.does(renew('guessed', 'x')), { refused: true, code: 'denied' })
  t.match(cluster.does(renew('one', 'two')), { refused: false })
  t.match(cluster.does(renew('one', 'three')), { refused: false }, 'the answer got lost')
  t.strictSame(cluster.state.nodeIdentities.get('n')?.serials, ['one', 'three'])
  t.match(cluster.does(renew('two', 'four')), { refused: true, code: 'denied' })
  t.match(cluster.does(renew('three', 'four')), { refused: false })
  t.match(cluster.does(renew('one', 'five')), { refused: true, code: 'denied' })
})

t.test('all of it comes back out of a snapshot', async (t) => {
  const cluster = certifying()
  for (const command of [authority('one'), authority('two', 'one'), token({ uses: 3 }), admit('n'), renew('s-n', 't')]) {
    t.match(cluster.does(command), { refused: false })
  }
  const back = reloaded(cluster.state)
  t.equal(encoded(back), encoded(cluster.state))
  t.strictSame(back.nodeIdentities.get('n'), cluster.state.nodeIdentities.get('n'))
  t.strictSame([...back.authorities.keys()], ['one', 'two'])
})
