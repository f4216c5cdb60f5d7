import t from 'tap'
import { seededRandom } from '../../../base/random.ts'
import { standIfLed } from '../../../master/peers/leader-gone.ts'
import { message } from '../../../master/raft/message.ts'
import { newRaft } from '../../../master/raft/node.ts'
import type { Raft } from '../../../master/raft/raft.ts'
import { act } from '../../../master/raft/step.ts'
import { labOptions } from '../../scenario/lab.ts'
import { MemoryStorage } from '../../scenario/memory-storage.ts'

const leaderId = 3

/** Follower `id` of three, led by the last of them in term 1. */
function followerOf(id: number): Raft {
  const storage = new MemoryStorage(() => undefined)
  const confState = { voters: [1, 2, 3], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false }
  storage.install({ index: 5, term: 1, confState, data: new Uint8Array() })
  const options = { ...labOptions, id, preVote: true, checkQuorum: true, chance: seededRandom(id) }
  const raft = newRaft(options, storage, 5)
  act(raft, Object.assign(message('heartbeat', id), { from: leaderId, term: 1 }))
  return raft
}

/** What it asks the others, at which millisecond; `at` happens meanwhile. */
async function asks(id: number, gone: number, at: (ms: number, raft: Raft) => void): Promise<readonly number[]> {
  const raft = followerOf(id)
  const asked: number[] = []
  let nowMs = 0
  const clock = {
    monotonicMs: () => nowMs,
    wallMs: () => nowMs,
    sleep: (ms: number) => {
      for (let passed = 0; passed < ms; passed += 1) at(++nowMs, raft)
      return Promise.resolve()
    }
  }
  const host = {
    raft,
    tell: (m: ReturnType<typeof message>) => {
      if (m.type === 'campaign') asked.push(nowMs)
      act(raft, m)
    }
  }
  const never = { between: (low: number) => low }
  await standIfLed(host, gone, { clock, random: never }, new AbortController().signal)
  return asked
}

const grant = (raft: Raft): void => {
  act(raft, Object.assign(message('pre-vote-response', raft.options.id), { from: raft.options.id, term: raft.term + 1 }))
  act(raft, Object.assign(message('pre-vote-response', raft.options.id), { from: 3 - raft.options.id, term: raft.term + 1 }))
}
const lead = (raft: Raft): void => {
  act(raft, Object.assign(message('heartbeat', raft.options.id), { from: 3 - raft.options.id, term: raft.term }))
}

t.test('the first of those who are left asks at once, the next one gives it the time of an election', async (t) => {
  t.equal((await asks(1, leaderId, () => undefined))[0], 0)
  t.equal((await asks(2, leaderId, () => undefined))[0], 25)
})

t.test('a question that is not answered is repeated, until somebody leads', async (t) => {
  t.strictSame(await asks(1, leaderId, (ms, raft) => ms === 20 && lead(raft)), [0, 8, 16])
})

t.test('votes that are under way are not broken off; those that were split are sought again', async (t) => {
  const asked = await asks(1, leaderId, (ms, raft) => {
    if (ms === 10) grant(raft)
    if (ms === 100) lead(raft)
  })
  t.strictSame(asked, [0, 8, 76, 84, 92])
})

t.test('who does not lead any more is not stood for', async (t) => {
  t.strictSame(await asks(1, 2, () => undefined), [])
})
