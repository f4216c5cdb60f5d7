import { connect, type Socket } from 'node:net'
import type { Clock } from '../../base/clock.ts'
import type { Log } from '../../base/log.ts'
import { RelayToLeader } from '../../master/api/relay-to-leader.ts'
import type { RaftFacts } from '../../master/consensus/raft-facts.ts'

/** What a master does that follows the one at the socket. A tunnel ends where that of a real one does: at the leader's socket. */
export function startRelay(leaderSocket: string, { clock, log }: { readonly clock: Clock; readonly log: Log }): RelayToLeader {
  const members = [1, 2].map((raftId) => {
    const address = `tcp:127.0.0.1:${raftId}`
    return { raftId, nodeId: '', address, agentAddress: '', role: 'voter' as const, progress: null }
  })
  const facts = async (): Promise<RaftFacts> => ({
    ...{ raftId: 2, leader: 1, term: 1, role: 'follower' as const, lastIndex: 0, committed: 0, applied: 0 },
    ...{ snapshotIndex: 0, segments: 0, isDiskFull: false, highestRaftId: 2, members }
  })
  const caller = {
    peerAt: ({ raftId }: { readonly raftId: number }) => ({ raftId, host: '', port: 0 }),
    tunnel: () =>
      new Promise<Socket>((resolve) => {
        const socket = connect(leaderSocket, () => resolve(socket))
      })
  }
  const own = (path: string) => (path === '/v1/raft' ? async () => ({ own: true }) : undefined)
  return new RelayToLeader({ facts, caller, own, clock, log })
}
