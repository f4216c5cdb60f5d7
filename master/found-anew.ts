import { mkdir, readdir, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf, Fault, isFault } from '../base/fault.ts'
import { silentLog } from '../base/log.ts'
import { randomToken } from '../base/random.ts'
import { decodeMessage } from '../proto/codec.ts'
import type { Command, LogEntry, SnapshotHead } from '../proto/gen/messages.ts'
import { clusterId, newClusterId, newNodeId } from '../proto/ids.ts'
import { founderId, genesisOf, type Membership, membershipMessage, readMembership } from './consensus/membership.ts'
import { type Identity, readIdentity, writeIdentity, writeToken } from './identity.ts'
import { decodeConfChange } from './raft/conf-change-codec.ts'
import { entryTypes } from './raft/entry.ts'
import { apply } from './state/apply.ts'
import { ClusterState } from './state/cluster.ts'
import { encodeSnapshot, freezeState, SnapshotDecoder } from './state/snapshot.ts'
import { systemDisk } from './store/disk.ts'
import { lockDirectory } from './store/lock.ts'
import { recoverLog } from './store/recovery.ts'
import { listSnapshots, messagesIn, readSnapshot, writeSnapshot } from './store/snapshots.ts'
import { Wal } from './store/wal.ts'
import { segmentBytes, tokenPaths } from './take-part.ts'

/** What is known of a cluster whose masters are gone: its state, and the highest term that is on record. */
export interface Remains {
  readonly state: ClusterState
  readonly term: number
  readonly lastTerm: number
  readonly formerClusterIds: readonly string[]
  readonly highestRaftId: number
}

/**
 * All that this master's disk holds, entries of which it does not know whether they were committed included: whatever was
 * acknowledged on its word is among them. Throws `Fault('corrupt')` on damage, `not-found` where there is nothing.
 */
export async function readRemains(stateDir: string): Promise<Remains> {
  const identity = await readIdentity(stateDir)
  if (identity === undefined) throw new Fault('not-found', `${stateDir} is the state directory of no master: name another`)
  const directory = join(stateDir, 'master')
  const snapshots = join(directory, 'snapshots')
  const newest = (await listSnapshots(systemDisk, snapshots)).at(-1)
  const before = newest === undefined ? undefined : await decodeFile(snapshots, newest)
  const state = before?.state ?? new ClusterState()
  const log = await recoverLog(systemDisk, join(directory, 'wal'), identity, newest ?? 0)
  const highestInLog = applyAll(state, log?.entries ?? [])
  if (state.clusterId === '') throw new Fault('not-found', `${directory} holds nothing that was ever committed`)
  const lastTerm = Math.max(log?.lastTerm ?? 0, before?.head.term ?? 0)
  return {
    state,
    term: Math.max(log?.hardState.term ?? 0, lastTerm),
    lastTerm,
    formerClusterIds: identity.formerClusterIds,
    highestRaftId: Math.max(membershipOf(before?.head).highestRaftId, highestInLog, identity.raftId)
  }
}

/** Returns the highest Raft id that the entries give away. */
function applyAll(state: ClusterState, entries: readonly LogEntry[]): number {
  let highest = 0
  for (const { index, type, data } of entries) {
    if (index <= state.index) continue
    const isCommand = entryTypes[type] === 'normal'
    apply(state, isCommand ? commandOf(data) : noCommand, index)
    if (!isCommand) highest = Math.max(highest, highestIn(type, data))
  }
  return highest
}

/** What a file of `hearth raft backup` holds. Throws `Fault('corrupt')` where a byte of it is wrong. */
export function readBackup(path: string, bytes: Buffer): Remains {
  const decoder = new SnapshotDecoder()
  for (const message of messagesIn(path, bytes)) decoder.push(message)
  const { state, head } = decoder.finish()
  const { highestRaftId } = membershipOf(head)
  return { state, term: head.term, lastTerm: head.term, formerClusterIds: [], highestRaftId }
}

/**
 * A cluster of this master alone, with that state, under a new id and a new secret: no master of the old one is listened to again, and
 * agents that have met this one obey no other. Throws `Fault('conflict')` where a master runs there. Returns the new identity.
 */
export async function foundAnew(stateDir: string, remains: Remains, nowMs: number): Promise<Identity> {
  const directory = join(stateDir, 'master')
  await systemDisk.makeDirectory(directory)
  const lock = await lockDirectory(directory)
  const draft = join(stateDir, 'master.draft')
  const { state } = remains
  const former = [...new Set([...remains.formerClusterIds, state.clusterId])]
  const identity: Identity = {
    clusterId: newClusterId(),
    nodeId: newNodeId(),
    raftId: remains.highestRaftId + 1,
    formerClusterIds: former
  }
  try {
    await writeAnew(draft, remains, identity, nowMs)
    // Until here nothing has changed. From here on the old files are aside, whatever happens.
    // The identity goes first: with it no master opens the old files, nor begins an empty log under the old id.
    await writeIdentity(stateDir, identity)
    await rename(directory, await freeName(stateDir))
    await rename(draft, directory)
    await writeToken(tokenPaths(stateDir).peers, randomToken())
    await systemDisk.syncDirectory(stateDir)
  } finally {
    await lock.release()
  }
  return identity
}

/** Of a cluster of which no log is left, and no more known than the id that its agents have. Throws `Fault('invalid')` for what is none. */
export function noRemains(formerClusterId: string): Remains {
  const state = new ClusterState()
  state.clusterId = clusterId(formerClusterId)
  state.featureLevel = 1
  state.index = 1
  return { state, term: 0, lastTerm: 0, formerClusterIds: [], highestRaftId: founderId }
}

/** Throws `Fault('conflict')` for a state directory that a master has used. */
export async function checkUnused(stateDir: string): Promise<void> {
  await mkdir(stateDir, { recursive: true, mode: 0o755 })
  const isUsed = (await readIdentity(stateDir)) !== undefined || (await namesIn(stateDir)).includes('master')
  if (isUsed) throw new Fault('conflict', `${stateDir} has the state of a master already: name an empty directory`)
}

async function writeAnew(
  draft: string,
  { state, term, highestRaftId }: Remains,
  identity: Identity,
  nowMs: number
): Promise<void> {
  const snapshots = join(draft, 'snapshots')
  await mkdir(snapshots, { recursive: true, mode: 0o700 })
  const own = { raftId: identity.raftId, nodeId: identity.nodeId, address: '', agentAddress: '' }
  const membership: Membership = { ...genesisOf([own]), highestRaftId: Math.max(highestRaftId, identity.raftId) }
  state.clusterId = identity.clusterId
  // Above every term that the old masters may have reached unseen: agents obey the highest alone.
  const above = Math.max(term + 1_000_000, Math.floor(nowMs / 1000))
  // Of no master that is: whoever opens it begins a log of its own behind it.
  const frozen = freezeState(state, { nodeId: '', term: above, membership: membershipMessage(membership) })
  await writeSnapshot(systemDisk, snapshots, state.index, encodeSnapshot(frozen))
  const { clusterId, nodeId } = identity
  const directory = join(draft, 'wal')
  const wal = new Wal({ disk: systemDisk, log: silentLog }, { directory, clusterId, nodeId, segmentBytes, keepAfter: 0 })
  await wal.open()
  await wal.reset(state.index)
  await wal.close()
}

async function decodeFile(directory: string, index: number): Promise<{ state: ClusterState; head: SnapshotHead }> {
  const decoder = new SnapshotDecoder()
  await readSnapshot(systemDisk, directory, index, (message) => decoder.push(message))
  return decoder.finish()
}

function highestIn(type: number, data: Uint8Array): number {
  const change = decodeConfChange(entryTypes[type] ?? 'normal', data)
  return Math.max(0, ...(change?.changes ?? []).map(({ nodeId }) => nodeId))
}

const founder = { raftId: founderId, nodeId: '', address: '', agentAddress: '' }

const membershipOf = (head: SnapshotHead | undefined): Membership =>
  head?.membership == null ? genesisOf([founder]) : readMembership(head.membership)

async function freeName(stateDir: string): Promise<string> {
  const names = new Set(await namesIn(stateDir))
  for (let i = 1; ; i += 1) {
    const name = `master.before-recovery-${i}`
    if (!names.has(name)) return join(stateDir, name)
  }
}

async function namesIn(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory)
  } catch (e) {
    if (errnoOf(e) === 'ENOENT') return []
    throw e
  }
}

const noCommand: Command = decodeMessage('Command', new Uint8Array())

function commandOf(data: Uint8Array): Command {
  try {
    return decodeMessage('Command', data)
  } catch (e) {
    if (isFault(e)) return noCommand
    throw e
  }
}
