import t from 'tap'
import { systemClock } from '../../base/clock.ts'
import { Proposer } from '../../master/proposer.ts'
import type { ProposeOutcome, Replica } from '../../master/replica.ts'
import { MemoryReplica } from '../support/memory-replica.ts'

const never = new AbortController().signal
const register = { registerFramework: { framework: { frameworkId: 'f', name: 'f', roles: ['*'] } } }
const write = (key: string, version: number) => ({
  storeTransaction: { frameworkId: 'f', conditions: [{ key, version }], writes: [{ key, value: Buffer.from('x') }] }
})

async function prepared(): Promise<{ readonly replica: MemoryReplica; readonly proposer: Proposer }> {
  const replica = new MemoryReplica()
  await replica.propose('', 0, { initCluster: { clusterId: 'c' } })
  const proposer = new Proposer({ replica, clock: systemClock }, { sessions: 2, waiting: 3, repeatMs: 1 })
  await proposer.propose(register, never)
  return { replica, proposer }
}

t.test('a command whose fate is unknown takes effect exactly once', async (t) => {
  const { replica, proposer } = await prepared()
  replica.fates.push('swallow', 'lose', 'swallow', 'lose')
  await proposer.propose(write('k', 0), never)
  t.equal(replica.state.storeOf('f').size, 1)
  await t.rejects(proposer.propose(write('k', 0), never), { code: 'conflict' }, 'a new command is judged anew')
})

t.test('refusals become faults that say what helps', async (t) => {
  const answers: readonly [ProposeOutcome, string][] = [
    [{ kind: 'refused', reason: 'overloaded', message: 'm' }, 'exhausted'],
    [{ kind: 'refused', reason: 'too-large', message: 'm' }, 'invalid'],
    [{ kind: 'refused', reason: 'disk-full', message: 'm' }, 'unavailable'],
    [{ kind: 'refused', reason: 'stopping', message: 'm' }, 'unavailable'],
    [{ kind: 'not-leader', hint: 'other' }, 'not-leader']
  ]
  for (const [outcome, code] of answers) {
    const replica: Pick<Replica, 'propose'> = { propose: async () => outcome }
    const proposer = new Proposer({ replica, clock: systemClock }, { sessions: 1, waiting: 1, repeatMs: 1 })
    await t.rejects(proposer.propose(register, never), { code })
  }
})

t.test('a log that takes nothing for a moment is asked again, with the same command', async (t) => {
  const { replica } = await prepared()
  let asked = 0
  const moving: Pick<Replica, 'propose'> = {
    propose: (session, seq, command) => {
      asked += 1
      const overloaded = Promise.resolve({ kind: 'refused', reason: 'overloaded', message: 'm' } as const)
      return asked < 4 ? overloaded : replica.propose(session, seq, command)
    }
  }
  await new Proposer({ replica: moving, clock: systemClock }, { sessions: 1, waiting: 1, repeatMs: 1 }).propose(
    write('k', 0),
    never
  )
  t.equal(asked, 4)
  t.equal(replica.state.storeOf('f').size, 1)
})

t.test('an aborted wait leaves its session behind: the next command cannot be taken for a repeat', async (t) => {
  const { replica, proposer } = await prepared()
  const stop = new AbortController()
  replica.fates.push('lose')
  const left = proposer.propose(write('a', 0), stop.signal)
  stop.abort(new Error('enough'))
  await t.rejects(left, /enough/)
  for (const key of ['b', 'c', 'd']) await proposer.propose(write(key, 0), never)
  t.same(
    [...replica.state.storeOf('f').scan()].map((r) => r.key),
    ['b', 'c', 'd']
  )
})

t.test('more than can wait are refused, the others come through', async (t) => {
  const { proposer } = await prepared()
  const all = await Promise.allSettled(['a', 'b', 'c', 'd', 'e', 'f', 'g'].map((key) => proposer.propose(write(key, 0), never)))
  t.equal(all.filter((r) => r.status === 'fulfilled').length, 5)
  const refused = all.flatMap((r) => (r.status === 'rejected' ? [r.reason.code] : []))
  t.same(refused, ['exhausted', 'exhausted'])
})
