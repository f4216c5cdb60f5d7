import type { Clock } from '../../base/clock.ts'
import type { Log } from '../../base/log.ts'
import { ClusterState } from '../state/cluster.ts'
import type { Figures } from './figures.ts'
import { type HostConfig, type HostParts, RaftHost } from './host.ts'
import type { Member } from './membership.ts'
import { founderId, genesisOf } from './membership.ts'
import { RaftReplica, type ReplicaConfig } from './raft-replica.ts'
import { Snapshotter } from './snapshotter.ts'

interface ComposeParts extends HostParts {
  readonly log: Log
  readonly clock: Clock
  readonly figures?: Figures
}

export interface ConsensusConfig extends Partial<Omit<ReplicaConfig, 'directory' | 'clusterId'>> {
  /** Holds `wal/` and `snapshots/`; made where it is missing. */
  readonly directory: string
  readonly clusterId: string
  readonly nodeId: string
  /** Default 1, the founder. */
  readonly raftId?: number
  /** Who voted when the log began: the same for all masters of a cluster. By default the founder alone. */
  readonly founders?: readonly Member[]
  readonly segmentBytes?: number
  readonly trailingEntries?: number
  readonly tailBytes?: number
  /** Default 25: elections after 300 to 575 ms without a leader, heartbeats every 50. */
  readonly tickMs?: number
  readonly core?: Partial<HostConfig['core']>
}

const coreDefaults: HostConfig['core'] = {
  electionTicks: 12,
  heartbeatTicks: 2,
  preVote: true,
  checkQuorum: true,
  reads: 'quorum',
  maxMessageBytes: 1024 * 1024,
  maxInflightMessages: 256,
  maxInflightBytes: 16 * 1024 * 1024,
  maxUncommittedBytes: 128 * 1024 * 1024,
  maxApplyingBytes: 16 * 1024 * 1024,
  maxWaitingReads: 1_000,
  validateConfChanges: true
}

const replicaDefaults = {
  raftId: founderId,
  /** A snapshot is taken after so many bytes of log. */
  snapshotEveryBytes: 64 * 1024 * 1024,
  segmentBytes: 64 * 1024 * 1024,
  trailingEntries: 1024,
  /** Larger commands are refused with `too-large`. */
  maxCommandBytes: 4 * 1024 * 1024,
  /** More at once is refused with `overloaded`. */
  maxInFlight: 8192,
  maxInFlightBytes: 64 * 1024 * 1024,
  /** What `changes` can go back to. */
  window: { changes: 20_000, bytes: 32 * 1024 * 1024 },
  tailBytes: 16 * 1024 * 1024
}

/** Core, log, state machine and replica of one master, as its newest snapshot leaves them; the host is not open yet. */
export async function composeConsensus(
  parts: ComposeParts,
  config: ConsensusConfig
): Promise<{ readonly replica: RaftReplica; readonly host: RaftHost }> {
  const settings = { ...replicaDefaults, ...config, core: { ...coreDefaults, ...config.core } }
  const { nodeId, directory } = settings
  const founders = settings.founders ?? [
    { raftId: founderId, nodeId: settings.raftId === founderId ? nodeId : '', address: '', agentAddress: '' }
  ]
  const genesis = genesisOf(founders)
  const snapshotter = new Snapshotter(parts, { directory, nodeId, genesis })
  const loaded = await snapshotter.load()
  const newest = loaded?.facts ?? { index: 0, term: 0, membership: genesis, isForeign: false }
  const replica = new RaftReplica({ ...parts, snapshotter }, settings, loaded?.state ?? new ClusterState(), newest)
  const host = new RaftHost(parts, settings, replica.events, newest)
  replica.serve(host)
  return { replica, host }
}
