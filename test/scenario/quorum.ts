import { committedIndex, jointCommittedIndex, jointVoteResult, type VoteResult } from '../../master/raft/quorum.ts'
import { numbersOf, type ScenarioCase, ScenarioRefused, wholeNumber } from './format.ts'

const results: Readonly<Record<VoteResult, string>> = { won: 'VoteWon', lost: 'VoteLost', pending: 'VotePending' }

const ascending = (ids: Iterable<number>): number[] => [...ids].sort((a, b) => a - b)

/** Runs one case of a quorum file. */
export function runQuorumCase({ command, args }: ScenarioCase): string {
  const incoming = ascending(numbersOf(args, 'cfg'))
  const outgoing = args.some((arg) => arg.key === 'cfgj' && arg.values[0] === 'zero') ? [] : ascending(numbersOf(args, 'cfgj'))
  // Values are given to the ids in the order of the two majorities, each id once.
  const ids = [...new Set([...numbersOf(args, 'cfg'), ...outgoing])]
  const values = args.find((arg) => arg.key === (command === 'vote' ? 'votes' : 'idx'))?.values ?? []
  if (values.length !== ids.length) throw new ScenarioRefused(`${values.length} values for ${ids.length} voters`)
  const known = new Map(ids.flatMap((id, at) => (values[at] === '_' ? [] : [[id, values[at] ?? ''] as const])))
  const quorum = { incoming, outgoing }
  if (command === 'vote') {
    return results[jointVoteResult(quorum, new Map([...known].map(([id, vote]) => [id, vote === 'y'])))]
  }
  if (command !== 'committed') throw new ScenarioRefused(`unknown command ${command}`)
  const indexes = new Map([...known].map(([id, text]) => [id, wholeNumber(text)]))
  const reached = (id: number) => indexes.get(id) ?? 0
  const index = outgoing.length === 0 ? committedIndex(incoming, reached) : jointCommittedIndex(quorum, reached)
  return `${describeVoters(ascending(ids), indexes)}${Number.isFinite(index) ? index : '∞'}`
}

/** A bar for each voter: as many x as there are voters with a lower index. */
function describeVoters(voters: readonly number[], indexes: ReadonlyMap<number, number>): string {
  if (voters.length === 0) return '<empty majority quorum>'
  const below = (index: number) => voters.filter((id) => (indexes.get(id) ?? 0) < index).length
  const rows = voters.map((id) => {
    const index = indexes.get(id)
    const bar = index === undefined ? '?' : `${'x'.repeat(below(index))}>`
    return `${bar.padEnd(voters.length + 1)} ${String(index ?? 0).padStart(5)}    (id=${id})\n`
  })
  return `${' '.repeat(voters.length)}    idx\n${rows.join('')}`
}
