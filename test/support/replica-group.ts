import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { systemClock } from '../../base/clock.ts'
import { silentLog } from '../../base/log.ts'
import { seededRandom } from '../../base/random.ts'
import type { ConsensusConfig } from '../../master/consensus/compose.ts'
import type { Member } from '../../master/consensus/membership.ts'
import { type OpenReplica, openReplica } from '../../master/consensus/open-replica.ts'
import { newClusterId, newNodeId } from '../../proto/ids.ts'
import { type LinkFaults, MemoryPeers } from './memory-peers.ts'
import { until } from './until.ts'

const flawless: LinkFaults = { loss: 0, duplication: 0, maxDelayMs: 0 }

/** Masters in this process, each with a directory of its own. */
export class ReplicaGroup {
  readonly peers: MemoryPeers
  readonly clusterId: string = newClusterId()
  readonly root: string
  readonly #open = new Map<number, OpenReplica>()
  readonly #nodeIds = new Map<number, string>()
  readonly #more: Partial<ConsensusConfig>

  private constructor(root: string, faults: LinkFaults, more: Partial<ConsensusConfig>) {
    this.root = root
    this.peers = new MemoryPeers(seededRandom(11), faults)
    this.#more = more
  }

  static async make(t: Test, faults = flawless, more: Partial<ConsensusConfig> = {}): Promise<ReplicaGroup> {
    const root = await mkdtemp(join(tmpdir(), 'hearth-group-'))
    const group = new ReplicaGroup(root, faults, { segmentBytes: 16 * 1024, tickMs: 20, ...more })
    t.teardown(async () => {
      await group.stop()
      await rm(root, { recursive: true, force: true })
    })
    return group
  }

  member(raftId: number): Member {
    const nodeId = this.#nodeIds.get(raftId) ?? newNodeId()
    this.#nodeIds.set(raftId, nodeId)
    return { raftId, nodeId, address: '', agentAddress: '' }
  }

  directory(raftId: number): string {
    return join(this.root, String(raftId))
  }

  /** Opens one master, or opens it again. */
  async open(raftId: number, founders?: readonly Member[]): Promise<OpenReplica> {
    const { nodeId } = this.member(raftId)
    const named = founders === undefined ? {} : { founders }
    const config = { directory: this.directory(raftId), clusterId: this.clusterId, nodeId, raftId, ...named, ...this.#more }
    const parts = { log: silentLog, clock: systemClock, transport: this.peers.transport(raftId) }
    const replica = await openReplica(parts, config)
    this.peers.attach(raftId, replica.host)
    this.#open.set(raftId, replica)
    return replica
  }

  /** Resolves once one of them leads. */
  async leader(): Promise<OpenReplica> {
    let leader: OpenReplica | undefined
    await until(() => {
      leader = [...this.#open.values()].find((replica) => replica.leadership.leading)
      return leader !== undefined
    })
    if (leader === undefined) throw new Error('nobody leads')
    return leader
  }

  get replicas(): readonly OpenReplica[] {
    return [...this.#open.values()]
  }

  async close(raftId: number): Promise<void> {
    await this.#open.get(raftId)?.close()
    this.#open.delete(raftId)
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#open.keys()].map((raftId) => this.close(raftId)))
  }
}
