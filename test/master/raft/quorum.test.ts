import fc from 'fast-check'
import t from 'tap'
import {
  committedIndex,
  jointCommittedIndex,
  jointVoteResult,
  jointVoters,
  type VoteResult,
  voteResult
} from '../../../master/raft/quorum.ts'

const voters = fc.uniqueArray(fc.integer({ min: 1, max: 9 }), { maxLength: 7 }).map((ids) => ids.sort((a, b) => a - b))
const indexes = fc.dictionary(fc.integer({ min: 1, max: 9 }).map(String), fc.integer({ min: 0, max: 12 }))
const votes = fc.dictionary(fc.integer({ min: 1, max: 9 }).map(String), fc.boolean())

const isMajority = (some: number, all: number): boolean => 2 * some > all

/** Tries every index, highest first. */
function committedByTrial(ids: readonly number[], reached: (id: number) => number): number {
  if (ids.length === 0) return Number.POSITIVE_INFINITY
  for (let index = 12; index > 0; index--) {
    if (isMajority(ids.filter((id) => reached(id) >= index).length, ids.length)) return index
  }
  return 0
}

/** Tries every way in which the missing votes can still be cast. */
function votesByTrial(incoming: readonly number[], outgoing: readonly number[], cast: ReadonlyMap<number, boolean>): VoteResult {
  const missing = jointVoters({ incoming, outgoing }).filter((id) => !cast.has(id))
  const endings = new Set<boolean>()
  const wins = (ids: readonly number[], all: ReadonlyMap<number, boolean>): boolean =>
    ids.length === 0 || isMajority(ids.filter((id) => all.get(id) === true).length, ids.length)
  for (let bits = 0; bits < 2 ** missing.length; bits++) {
    const all = new Map([...cast, ...missing.map((id, at) => [id, Math.floor(bits / 2 ** at) % 2 === 1] as const)])
    endings.add(wins(incoming, all) && wins(outgoing, all))
  }
  if (endings.size === 2) return 'pending'
  return endings.has(true) ? 'won' : 'lost'
}

t.test('the committed index of a majority is the one that trying all indexes finds', async () => {
  fc.assert(
    fc.property(voters, indexes, (ids, reached) => {
      const of = (id: number): number => reached[id] ?? 0
      return committedIndex(ids, of) === committedByTrial(ids, of)
    }),
    { numRuns: 500 }
  )
})

t.test('a joint quorum commits what both majorities do, whichever comes first', async () => {
  fc.assert(
    fc.property(voters, voters, indexes, (incoming, outgoing, reached) => {
      const of = (id: number): number => reached[id] ?? 0
      const index = jointCommittedIndex({ incoming, outgoing }, of)
      const other = jointCommittedIndex({ incoming: outgoing, outgoing: incoming }, of)
      return index === other && index === Math.min(committedByTrial(incoming, of), committedByTrial(outgoing, of))
    }),
    { numRuns: 500 }
  )
})

t.test('an election is won or lost as soon as the missing votes cannot change it', async () => {
  fc.assert(
    fc.property(voters, votes, (incoming, answers) => {
      const cast = new Map(Object.entries(answers).map(([id, vote]) => [Number(id), vote]))
      const byTrial = votesByTrial(incoming, [], cast)
      return voteResult(incoming, cast) === byTrial && jointVoteResult({ incoming, outgoing: [] }, cast) === byTrial
    }),
    { numRuns: 300 }
  )
  fc.assert(
    fc.property(voters, voters, votes, (incoming, outgoing, answers) => {
      const cast = new Map(Object.entries(answers).map(([id, vote]) => [Number(id), vote]))
      const byTrial = votesByTrial(incoming, outgoing, cast)
      const result = jointVoteResult({ incoming, outgoing }, cast)
      // Two majorities that depend on each other may be lost together before either of them is; waiting for more is safe.
      return result === byTrial || (result === 'pending' && byTrial === 'lost')
    }),
    { numRuns: 300 }
  )
})
