import { request as httpRequest } from 'node:http'
import type { MemberFacts, RaftFacts } from './consensus/raft-facts.ts'
import type { PeerCaller } from './peers/peer-caller.ts'

interface MembersFactsParts {
  readonly facts: () => Promise<RaftFacts>
  readonly caller: Pick<PeerCaller, 'tunnel' | 'peerAt'> | undefined
}

/** One master, as it sees itself; null where it was not reached. */
export interface MemberView extends Omit<MemberFacts, 'progress'> {
  readonly own: Omit<RaftFacts, 'members'> | null
  readonly problem: string
}

export interface MembersFacts {
  /** The master that was asked. */
  readonly askedRaftId: number
  readonly leader: number
  readonly term: number
  readonly members: readonly MemberView[]
}

const patienceMs = 1_000
const mostBytes = 1024 * 1024

/** Asks every member how it sees the log: also while nobody leads, which is when one wants to know. */
export async function membersFacts({ facts, caller }: MembersFactsParts, signal: AbortSignal): Promise<MembersFacts> {
  const asked = await facts()
  const views = asked.members.map(async ({ progress: _, ...member }): Promise<MemberView> => {
    try {
      const { members: __, ...own } = member.raftId === asked.raftId ? asked : await ask(caller, member, signal)
      return { ...member, own, problem: '' }
    } catch (e) {
      return { ...member, own: null, problem: e instanceof Error ? e.message : String(e) }
    }
  })
  const members = await Promise.all(views)
  // Whoever asked may have been cut off: the highest term knows best.
  const { leader, term } = members
    .flatMap(({ own }) => (own === null ? [] : [own]))
    .reduce((best, own) => (own.term > best.term ? own : best), asked)
  return { askedRaftId: asked.raftId, leader, term, members }
}

async function ask(
  caller: Pick<PeerCaller, 'tunnel' | 'peerAt'> | undefined,
  member: Omit<MemberFacts, 'progress'>,
  signal: AbortSignal
): Promise<RaftFacts> {
  const peer = caller?.peerAt(member)
  if (caller === undefined || peer === undefined) throw new Error('no address')
  const socket = await caller.tunnel(peer, 'api', AbortSignal.any([signal, AbortSignal.timeout(patienceMs)]))
  return await new Promise((resolve, reject) => {
    const outgoing = httpRequest({
      path: '/v1/raft',
      headers: { host: 'localhost', connection: 'close' },
      createConnection: () => socket
    })
    outgoing.once('error', reject)
    outgoing.once('response', (incoming) => {
      const chunks: Buffer[] = []
      let bytes = 0
      incoming.on('data', (chunk: Buffer) => {
        bytes += chunk.length
        if (bytes > mostBytes) incoming.destroy(new Error('its answer is too long'))
        else chunks.push(chunk)
      })
      incoming.once('error', reject)
      incoming.once('end', () => {
        try {
          resolve(JSON.parse(Buffer.concat(chunks).toString()) as RaftFacts)
        } catch (e) {
          reject(e as Error)
        }
      })
    })
    outgoing.end()
  })
}
