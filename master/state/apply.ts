import type { Answer, Command, FrameworkDefinition } from '../../proto/gen/messages.ts'
import { registerAgent, setAgentCondition } from './agents.ts'
import { accepted, isId, refused } from './answer.ts'
import { assignTask, endTask, forgetTask } from './assignments.ts'
import { type ClusterLimits, type ClusterState, clusterLimits, levelOfLeases } from './cluster.ts'
import {
  admitNode,
  createJoinToken,
  removeNode,
  renewCertificate,
  retireAuthority,
  revokeJoinToken,
  setAuthority
} from './identities.ts'
import { endLease, grantLease } from './leases.ts'
import { createOperator, removeOperator } from './operators.ts'
import { storeTransaction } from './scheduler-store.ts'

type CommandKind = Exclude<keyof Command, 'session' | 'seq' | 'atMs'>

/** The feature level from which on a kind of command counts. */
const levelOf: Readonly<Record<CommandKind, number>> = {
  initCluster: 0,
  raiseFeatureLevel: 1,
  registerAgent: 1,
  setAgentCondition: 1,
  registerFramework: 1,
  assignTask: 1,
  endTask: 1,
  forgetTask: 1,
  storeTransaction: 1,
  openSession: 1,
  setAuthority: 2,
  retireAuthority: 2,
  createJoinToken: 2,
  revokeJoinToken: 2,
  admitNode: 2,
  renewCertificate: 2,
  removeNode: 2,
  createOperator: 2,
  removeOperator: 2,
  grantLease: levelOfLeases,
  endLease: levelOfLeases
}

const kinds = Object.keys(levelOf) as readonly CommandKind[]

interface Applied {
  readonly answer: Answer
  /** Whether this command had been applied before, under the same session and seq; then nothing changed now. */
  readonly repeated: boolean
}

/**
 * Total: a committed command that cannot be honoured is answered with a refusal, never a throw, since a throw would fell
 * every master that reads this log, again at each start.
 */
export function apply(state: ClusterState, command: Command, index: number, limits: ClusterLimits = clusterLimits): Answer {
  return applyOnce(state, command, index, limits).answer
}

/**
 * A session makes commands exact: the same seq gets the same answer, an earlier one is refused. A session opens by
 * `openSession`, or by any command with seq 1; when it has been pushed out of the table, a later seq of it is refused with
 * `not-found`, so that a repeat can never count twice. Commands without a session are applied each time.
 */
export function applyOnce(state: ClusterState, command: Command, index: number, limits: ClusterLimits = clusterLimits): Applied {
  state.index = index
  state.atMs = Math.max(state.atMs, command.atMs)
  const { session, seq } = command
  if (session === '') return { answer: dispatch(state, command, index, limits), repeated: false }
  const last = state.sessions.get(session)
  if (seq < 1 || (last === undefined && Buffer.byteLength(session) > 255)) {
    return { answer: refused('invalid', 'a session is named by 1 to 255 bytes and its seq counts from 1'), repeated: false }
  }
  if (last === undefined && seq > 1 && command.openSession === null) {
    return {
      answer: refused('not-found', `session ${session} is not open: open a new one and look at the state`),
      repeated: false
    }
  }
  if (last !== undefined && seq < last.seq) {
    const message = `command ${seq} of session ${session} comes after ${last.seq}: it was decided before, or overtaken`
    return { answer: refused('conflict', message), repeated: false }
  }
  const repeated = last !== undefined && seq === last.seq
  const answer = repeated ? last.answer : dispatch(state, command, index, limits)
  state.sessions.delete(session)
  state.sessions.set(session, { seq, answer, usedIndex: index })
  if (state.sessions.size > limits.sessions) evictOldest(state)
  return { answer, repeated }
}

function evictOldest(state: ClusterState): void {
  for (const session of state.sessions.keys()) {
    state.sessions.delete(session)
    return
  }
}

/** The one kind of command that is filled; undefined where none is (or one that this build does not know), or several are. */
function commandKind(command: Command): CommandKind | undefined {
  let filled: CommandKind | undefined
  for (const kind of kinds) {
    if (command[kind] === null || command[kind] === undefined) continue
    if (filled !== undefined) return undefined
    filled = kind
  }
  return filled
}

function dispatch(state: ClusterState, command: Command, index: number, limits: ClusterLimits): Answer {
  const kind = commandKind(command)
  if (kind === undefined || levelOf[kind] > state.featureLevel) {
    return refused('unsupported', `the cluster is at feature level ${state.featureLevel}, which does not have this command`)
  }
  if (command.initCluster !== null) return initCluster(state, command.initCluster.clusterId, index)
  if (command.raiseFeatureLevel !== null) return raiseFeatureLevel(state, command.raiseFeatureLevel.level, index)
  if (command.registerAgent !== null) return registerAgent(state, command.registerAgent, index, limits)
  if (command.setAgentCondition !== null) return setAgentCondition(state, command.setAgentCondition, index)
  if (command.registerFramework !== null) return registerFramework(state, command.registerFramework.framework, index, limits)
  if (command.assignTask !== null) return assignTask(state, command.assignTask, index, limits)
  if (command.endTask !== null) return endTask(state, command.endTask, index)
  if (command.forgetTask !== null) return forgetTask(state, command.forgetTask, index)
  if (command.grantLease !== null) return grantLease(state, command.grantLease, index)
  if (command.endLease !== null) return endLease(state, command.endLease, index)
  if (command.storeTransaction !== null) return storeTransaction(state, command.storeTransaction, index, limits)
  return dispatchIdentity(state, command, index, limits)
}

function dispatchIdentity(state: ClusterState, command: Command, index: number, limits: ClusterLimits): Answer {
  if (command.setAuthority !== null) return setAuthority(state, command.setAuthority, index)
  if (command.retireAuthority !== null) return retireAuthority(state, command.retireAuthority.digest, index)
  if (command.createJoinToken !== null) return createJoinToken(state, command.createJoinToken, index, limits)
  if (command.revokeJoinToken !== null) return revokeJoinToken(state, command.revokeJoinToken.tokenId, index)
  if (command.admitNode !== null) return admitNode(state, command.admitNode, index, limits)
  if (command.renewCertificate !== null) return renewCertificate(state, command.renewCertificate, index)
  if (command.removeNode !== null) return removeNode(state, command.removeNode.nodeId, index)
  if (command.createOperator !== null) return createOperator(state, command.createOperator, index, limits)
  if (command.removeOperator !== null) return removeOperator(state, command.removeOperator.name, index)
  return accepted(index)
}

function initCluster(state: ClusterState, clusterId: string, index: number): Answer {
  if (!isId(clusterId)) return refused('invalid', 'a cluster id is 1 to 255 bytes without a slash')
  if (state.clusterId !== '') return refused('conflict', `the cluster is initialised already, as ${state.clusterId}`)
  state.clusterId = clusterId
  state.featureLevel = 1
  return accepted(index)
}

/** One level at a time. The driver proposes it only when every voter knows the level, so that all voters answer alike. */
function raiseFeatureLevel(state: ClusterState, level: number, index: number): Answer {
  if (level !== state.featureLevel + 1) {
    return refused(
      'conflict',
      `the feature level is ${state.featureLevel}: the next one is ${state.featureLevel + 1}, not ${level}`
    )
  }
  state.featureLevel = level
  return accepted(index)
}

function registerFramework(
  state: ClusterState,
  framework: FrameworkDefinition | null,
  index: number,
  limits: ClusterLimits
): Answer {
  if (framework === null || !isId(framework.frameworkId)) {
    return refused('invalid', 'a framework needs an id of 1 to 255 bytes without a slash')
  }
  if (!state.frameworks.has(framework.frameworkId) && state.frameworks.size >= limits.frameworks) {
    return refused('exhausted', `the cluster holds ${limits.frameworks} frameworks already`)
  }
  state.frameworks.set(framework.frameworkId, framework)
  return accepted(index)
}
