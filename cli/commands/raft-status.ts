import type { RaftMember } from '../../sdk/operator-messages.ts'
import { type CommonOptions, type Context, widthOf, writeOut } from '../context.ts'
import { renderFacts, renderTable } from '../output/table.ts'

export async function raftStatus(context: Context, options: CommonOptions): Promise<number> {
  const { stdout } = context.streams
  const raft = await context.client(options).raft(context.signal)
  if (options.json === true) {
    await writeOut(stdout, `${JSON.stringify(raft, null, 2)}\n`)
    return 0
  }
  const { raftId, role, term, leader, lastIndex, committed, applied, snapshotIndex, segments, isDiskFull } = raft
  const facts = renderFacts([
    ['this master', `${raftId}, ${role} in term ${term}`],
    ['leader', leader === 0 ? 'nobody' : String(leader)],
    [
      'log',
      `${lastIndex} entries, ${committed} committed, ${applied} applied, in ${segments} segment${segments === 1 ? '' : 's'}`
    ],
    ['snapshot', snapshotIndex === 0 ? 'none yet' : `of entry ${snapshotIndex}`],
    ['disk', isDiskFull ? 'FULL: no more commands are taken until there is room' : 'has room']
  ])
  const table = renderTable<RaftMember>(
    [
      { title: 'MEMBER', value: (m) => String(m.raftId) },
      { title: 'NODE', value: (m) => m.nodeId, shrinks: true },
      { title: 'ROLE', value: (m) => (m.raftId === leader ? 'leader' : m.role) },
      { title: 'STATE', value: (m) => stateOf(m) },
      { title: 'HAS', value: (m) => (m.progress === null ? '' : String(m.progress.match)) },
      { title: 'ADDRESS', value: (m) => m.address }
    ],
    raft.members,
    widthOf(stdout)
  )
  await writeOut(stdout, `${facts}${table}`)
  return 0
}

function stateOf({ progress }: RaftMember): string {
  if (progress === null) return ''
  return progress.isActive ? progress.state : 'not heard from'
}
