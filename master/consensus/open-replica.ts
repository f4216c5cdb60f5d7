import { join } from 'node:path'
import type { Clock } from '../../base/clock.ts'
import { Fault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import { systemRandom } from '../../base/random.ts'
import { isSingleton } from '../raft/tracker.ts'
import type { Replica } from '../replica.ts'
import { type ClusterState, highestFeatureLevel } from '../state/cluster.ts'
import { type Disk, systemDisk } from '../store/disk.ts'
import { type Lock, lockDirectory } from '../store/lock.ts'
import { snapshotBytes } from '../store/snapshots.ts'
import { type ConsensusConfig, composeConsensus } from './compose.ts'
import { type FigureFacts, Figures, timedDisk } from './figures.ts'
import type { RaftHost } from './host.ts'
import { noPeers, type PeerTransport } from './port.ts'
import { type RaftFacts, raftFacts } from './raft-facts.ts'
import { type RaftReplica, tooOld } from './raft-replica.ts'
import { ticksDue } from './ticks-due.ts'

interface OpenParts {
  readonly log: Log
  readonly clock: Clock
  readonly disk?: Disk
  /** The way to the other masters; without one this master stays alone. */
  readonly transport?: PeerTransport
}

export interface OpenReplica extends Replica {
  /** Read it, never change it. */
  readonly state: ClusterState
  readonly host: RaftHost
  /** Calls back once when the log cannot be written any more: the process must end and start again. */
  onFatal(listener: (failure: Fault) => void): void
  /** Takes a snapshot now and drops the log before it. Does nothing while one is being taken. */
  snapshot(): Promise<void>
  /** What this master counts of itself. */
  figures(): FigureFacts
  /** The file of the newest snapshot. */
  newestSnapshot(): Promise<Buffer>
  /** How this master sees the log and its members now. */
  facts(): Promise<RaftFacts>
  /** Asks the leader, who is this one, to hand over to that voter; without one to whoever lacks least. False: nobody can take it. */
  transfer(raftId?: number): Promise<boolean>
  /** As `RaftReplica.changeMembers`. */
  changeMembers: RaftReplica['changeMembers']
  /** Hands leadership over where it can; later proposals are refused with `stopping`, those in flight are decided first. */
  close(): Promise<void>
}

const defaultTickMs = 25
/** How long a leader that stops waits for another to take over. */
const handOverMs = 1_000

/**
 * Recovers snapshot and log and takes part from then on; a master that is alone leads when this resolves. Rejects with
 * `Fault('conflict')` where another process or another cluster owns the directory, `Fault('corrupt')` on damage.
 */
export async function openReplica(parts: OpenParts, config: ConsensusConfig): Promise<OpenReplica> {
  const figures = new Figures()
  const disk = timedDisk(parts.disk ?? systemDisk, parts.clock, figures)
  await disk.makeDirectory(config.directory)
  const lock = await lockDirectory(config.directory)
  try {
    return await open({ ...parts, disk, figures }, config, lock)
  } catch (e) {
    await lock.release()
    throw e
  }
}

async function open(
  parts: OpenParts & { readonly disk: Disk; readonly figures: Figures },
  config: ConsensusConfig,
  lock: Lock
): Promise<OpenReplica> {
  const { transport = noPeers, clock } = parts
  const { replica, host } = await composeConsensus(
    {
      ...parts,
      transport,
      chance: systemRandom,
      turn: (work) => void setImmediate(work),
      onBroken: (error) => void Promise.reject(error)
    },
    config
  )
  try {
    checkState(replica.state, config)
    await host.open()
    await leadIfAlone(replica, host)
    checkState(replica.state, config)
  } catch (e) {
    await host.close()
    throw e
  }
  const ticking = parts.transport === undefined ? undefined : keepTicking(host, clock, config.tickMs ?? defaultTickMs)
  let closing: Promise<void> | undefined
  const close = async (): Promise<void> => {
    await stepDown(replica, host, clock)
    await replica.close()
    clearInterval(ticking)
    await host.close()
    await lock.release()
  }
  return {
    state: replica.state,
    leadership: replica.leadership,
    host,
    propose: (...command) => replica.propose(...command),
    read: (signal) => replica.read(signal),
    changes: (fromIndex, signal) => replica.changes(fromIndex, signal),
    onFatal: (listener) => replica.onFatal(listener),
    snapshot: () => replica.snapshot(),
    figures: () => parts.figures.facts,
    newestSnapshot: () => snapshotBytes(parts.disk, join(config.directory, 'snapshots'), host.store.newest.index),
    facts: () => Promise.resolve(raftFacts(host)),
    transfer: (raftId) => Promise.resolve(host.handOver(raftId)),
    changeMembers: (...change) => replica.changeMembers(...change),
    close: () => {
      closing ??= close()
      return closing
    }
  }
}

function keepTicking(host: RaftHost, clock: Clock, tickMs: number): NodeJS.Timeout {
  let lastMs = clock.monotonicMs()
  return setInterval(() => {
    const { raft } = host
    const nowMs = clock.monotonicMs()
    const due = ticksDue(nowMs - lastMs, tickMs, raft?.role === 'leader', raft?.options.heartbeatTicks ?? 1)
    lastMs = nowMs
    for (let i = 0; i < due; i += 1) host.tick()
  }, tickMs)
}

/** Whoever has nobody to wait for leads before it is of use to anybody. */
function leadIfAlone(replica: RaftReplica, { raft, store }: RaftHost): Promise<void> {
  if (raft === undefined || !isSingleton(raft.tracker.config) || !raft.tracker.progress.has(raft.options.id)) {
    return Promise.resolve()
  }
  return new Promise((resolve, reject) => {
    replica.leadership.watch(() => resolve(), new AbortController().signal)
    store.wal.onFailure(reject)
  })
}

function checkState(state: ClusterState, { directory, clusterId: own }: ConsensusConfig): void {
  const { clusterId } = state
  if (clusterId !== '' && clusterId !== own) {
    throw new Fault('conflict', `${directory} belongs to cluster ${clusterId}, not to ${own}`)
  }
  if (state.featureLevel > highestFeatureLevel) throw tooOld(state)
}

/** A planned stop costs no election timeout: another is made leader first. */
async function stepDown(replica: RaftReplica, host: RaftHost, clock: Clock): Promise<void> {
  if (!host.handOver()) return
  const over = new AbortController()
  const lost = new Promise<void>((resolve) => {
    replica.leadership.watch(({ kind }) => kind === 'lost' && resolve(), over.signal)
  })
  await Promise.race([lost, clock.sleep(handOverMs, over.signal).catch(() => undefined)])
  over.abort()
}
