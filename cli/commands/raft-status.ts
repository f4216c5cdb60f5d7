import type { MembersFacts, MemberView } from '../../sdk/raft-messages.ts'
import { type CommonOptions, type Context, widthOf, writeOut } from '../context.ts'
import { renderFacts, renderTable } from '../output/table.ts'

/** 0 while a master leads, 69 where none does. */
export async function raftStatus(context: Context, options: CommonOptions): Promise<number> {
  const { stdout } = context.streams
  const facts = await context.client(options).raft.members(context.signal)
  const code = facts.leader === 0 ? 69 : 0
  if (options.json === true) {
    await writeOut(stdout, `${JSON.stringify(facts, null, 2)}\n`)
    return code
  }
  await writeOut(stdout, `${renderFacts(factsOf(facts))}${tableOf(facts, widthOf(stdout))}${adviceOf(facts)}`)
  return code
}

function factsOf({ leader, term, members, askedRaftId }: MembersFacts): readonly (readonly [string, string])[] {
  const voters = members.filter((m) => m.role !== 'learner')
  const answering = voters.filter((m) => m.own !== null).length
  const own = members.find((m) => m.raftId === askedRaftId)?.own
  const log =
    own == null
      ? 'not known'
      : `${own.committed} entries committed, snapshot ${own.snapshotIndex === 0 ? 'none yet' : `of ${own.snapshotIndex}`}`
  return [
    ['leader', leader === 0 ? 'nobody' : `${leader}, in term ${term}`],
    ['voters', `${answering} of ${voters.length} answer; ${Math.floor(voters.length / 2) + 1} are needed`],
    ['log', log]
  ]
}

const tableOf = ({ members, leader }: MembersFacts, width: number | undefined): string => {
  const most = Math.max(0, ...members.map((m) => m.own?.committed ?? 0))
  return renderTable<MemberView>(
    [
      { title: 'MEMBER', value: (m) => String(m.raftId) },
      { title: 'ROLE', value: (m) => (m.raftId === leader ? 'leader' : m.role) },
      { title: 'TERM', value: (m) => String(m.own?.term ?? '') },
      { title: 'APPLIED', value: (m) => String(m.own?.applied ?? '') },
      { title: 'BEHIND', value: (m) => (m.own === null ? '' : String(Math.max(0, most - m.own.applied))) },
      { title: 'STATE', value: stateOf },
      { title: 'ADDRESS', value: (m) => m.address },
      { title: 'NODE', value: (m) => m.nodeId, shrinks: true }
    ],
    members,
    width
  )
}

function stateOf({ own }: MemberView): string {
  if (own === null) return 'does not answer'
  if (own.role === 'failed') return 'its log has failed'
  return own.isDiskFull ? 'DISK FULL' : 'answers'
}

function adviceOf({ leader, members }: MembersFacts): string {
  const voters = members.filter((m) => m.role !== 'learner')
  const dead = voters.filter((m) => m.own === null)
  const learners = members.filter((m) => m.role === 'learner')
  if (leader === 0 && dead.length * 2 >= voters.length) {
    return '\nNo majority answers: bring the others back. Only where they are lost for good: hearth raft recover\n'
  }
  if (dead.length > 0) {
    return `\nMember ${dead[0]?.raftId} does not answer. Lost for good? hearth raft replace ${dead[0]?.raftId} tls:HOST:PORT\n`
  }
  if (learners.length % 2 === 1 && voters.length % 2 === 1) {
    return '\nA learner waits for one more: an even number of voters survives no more than the odd one below it.\n'
  }
  return ''
}
