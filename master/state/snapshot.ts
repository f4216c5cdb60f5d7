import { Fault } from '../../base/fault.ts'
import { decodeMessage, encodeMessage, type Init } from '../../proto/codec.ts'
import type {
  AgentRow,
  AssignmentRow,
  AuthorityRow,
  FrameworkDefinition,
  JoinTokenRow,
  Membership,
  NodeIdentityRow,
  OperatorRow,
  SessionRow,
  SnapshotChunk,
  SnapshotHead,
  StoreRow
} from '../../proto/gen/messages.ts'
import { assignmentKey, ClusterState, type SessionState } from './cluster.ts'
import { OrderedRows } from './ordered-rows.ts'

const format = 1
/** Rows are packed up to about this many bytes; a single larger row gets a chunk of its own. */
const chunkBytes = 64 * 1024

interface SnapshotOrigin {
  readonly nodeId: string
  /** Of the entry at the state's index. */
  readonly term: number
  readonly membership?: Membership
}

/** A state as it was at one index: the rows themselves are shared, since they never change. */
interface FrozenState {
  readonly head: SnapshotHead
  readonly agents: readonly AgentRow[]
  readonly frameworks: readonly FrameworkDefinition[]
  readonly assignments: readonly AssignmentRow[]
  readonly sessions: readonly (readonly [string, SessionState])[]
  readonly authorities: readonly AuthorityRow[]
  readonly joinTokens: readonly JoinTokenRow[]
  readonly nodeIdentities: readonly NodeIdentityRow[]
  readonly operators: readonly OperatorRow[]
  readonly stores: readonly (readonly [string, readonly StoreRow[]])[]
}

/** Cheap enough to run between two commands; encode what comes out in slices. */
export function freezeState(state: ClusterState, origin: SnapshotOrigin): FrozenState {
  const { clusterId, index, featureLevel, atMs } = state
  return {
    head: { format, clusterId, index, featureLevel, atMs, membership: null, ...origin },
    agents: [...state.agents.values()],
    frameworks: [...state.frameworks.values()],
    assignments: [...state.assignments.values()],
    sessions: [...state.sessions],
    authorities: [...state.authorities.values()],
    joinTokens: [...state.joinTokens.values()],
    nodeIdentities: [...state.nodeIdentities.values()],
    operators: [...state.operators.values()],
    stores: [...state.stores].map(([frameworkId, rows]) => [frameworkId, rows.all()])
  }
}

/**
 * First the encoded head, then encoded chunks. The same log gives the same bytes, also across restarts: rows come in the order
 * of their first command, which a restored state keeps.
 */
export function* encodeSnapshot(frozen: FrozenState): Generator<Uint8Array> {
  yield encodeMessage('SnapshotHead', frozen.head)
  yield* pack(
    frozen.agents,
    (row) => encodeMessage('AgentRow', row).length,
    (agents) => ({ agents })
  )
  yield* pack(
    frozen.frameworks,
    (row) => encodeMessage('FrameworkDefinition', row).length,
    (frameworks) => ({ frameworks })
  )
  yield* pack(
    frozen.assignments,
    (row) => encodeMessage('AssignmentRow', row).length,
    (assignments) => ({ assignments })
  )
  yield* pack(
    sessionRows(frozen.sessions),
    (row) => row.answer.length + row.session.length + 16,
    (sessions) => ({ sessions })
  )
  yield* identityChunks(frozen)
  for (const [frameworkId, rows] of frozen.stores) {
    yield* pack(
      rows,
      (row) => row.key.length + row.value.length + 16,
      (part) => ({ stores: [{ frameworkId, rows: part, bytes: 0 }] })
    )
  }
}

function* identityChunks({ authorities, joinTokens, nodeIdentities, operators }: FrozenState): Generator<Uint8Array> {
  yield* pack(
    authorities,
    (row) => encodeMessage('AuthorityRow', row).length,
    (authorities) => ({ authorities })
  )
  yield* pack(
    joinTokens,
    (row) => encodeMessage('JoinTokenRow', row).length,
    (joinTokens) => ({ joinTokens })
  )
  yield* pack(
    nodeIdentities,
    (row) => encodeMessage('NodeIdentityRow', row).length,
    (nodeIdentities) => ({ nodeIdentities })
  )
  yield* pack(
    operators,
    (row) => encodeMessage('OperatorRow', row).length,
    (operators) => ({ operators })
  )
}

function* sessionRows(sessions: FrozenState['sessions']): Generator<SessionRow> {
  for (const [session, { seq, answer, usedIndex }] of sessions) {
    yield { session, seq, answer: encodeMessage('Answer', answer), usedIndex }
  }
}

/** The state of a snapshot. Throws `Fault('corrupt')` or, for a format of a newer build, `Fault('unsupported')`. */
export class SnapshotDecoder {
  readonly #state = new ClusterState()
  #head: SnapshotHead | undefined

  /** The messages in the order in which `encodeSnapshot` gave them. */
  push(bytes: Uint8Array): void {
    if (this.#head === undefined) this.#takeHead(decodeMessage('SnapshotHead', bytes))
    else this.#takeChunk(decodeMessage('SnapshotChunk', bytes))
  }

  finish(): { readonly head: SnapshotHead; readonly state: ClusterState } {
    if (this.#head === undefined) throw new Fault('corrupt', 'the snapshot has no head')
    return { head: this.#head, state: this.#state }
  }

  #takeHead(head: SnapshotHead): void {
    if (head.format !== format) {
      throw new Fault('unsupported', `the snapshot has format ${head.format}; this build reads format ${format}: upgrade it`)
    }
    this.#head = head
    this.#state.clusterId = head.clusterId
    this.#state.featureLevel = head.featureLevel
    this.#state.index = head.index
    this.#state.atMs = head.atMs
  }

  #takeChunk(chunk: SnapshotChunk): void {
    const state = this.#state
    for (const row of chunk.agents) {
      if (row.agent === null) throw new Fault('corrupt', 'an agent row of the snapshot has no agent')
      state.agents.set(row.agent.agentId, { ...row, agent: row.agent })
    }
    for (const row of chunk.frameworks) state.frameworks.set(row.frameworkId, row)
    for (const row of chunk.assignments) {
      if (row.assignment === null) throw new Fault('corrupt', 'an assignment row of the snapshot has no assignment')
      state.assignments.set(keyOf(row), { ...row, assignment: row.assignment })
    }
    for (const row of chunk.sessions) {
      const answer = decodeMessage('Answer', row.answer)
      state.sessions.set(row.session, { seq: row.seq, answer, usedIndex: row.usedIndex })
    }
    takeIdentities(state, chunk)
    for (const section of chunk.stores) {
      const rows = state.stores.get(section.frameworkId) ?? new OrderedRows()
      for (const row of section.rows) rows.set(row)
      state.stores.set(section.frameworkId, rows)
    }
  }
}

function takeIdentities(state: ClusterState, chunk: SnapshotChunk): void {
  for (const row of chunk.authorities) {
    state.authorities.set(row.digest, { ...row, certificate: new Uint8Array(row.certificate) })
  }
  for (const row of chunk.joinTokens) state.joinTokens.set(row.tokenId, row)
  for (const row of chunk.nodeIdentities) state.nodeIdentities.set(row.nodeId, row)
  for (const row of chunk.operators) state.operators.set(row.name, row)
}

const keyOf = (row: AssignmentRow): string => assignmentKey(row.assignment?.frameworkId ?? '', row.assignment?.taskId ?? '')

function* pack<T>(
  rows: Iterable<T>,
  sizeOf: (row: T) => number,
  chunk: (rows: T[]) => Init<SnapshotChunk>
): Generator<Uint8Array> {
  let held: T[] = []
  let bytes = 0
  for (const row of rows) {
    const size = sizeOf(row)
    if (held.length > 0 && bytes + size > chunkBytes) {
      yield encodeMessage('SnapshotChunk', chunk(held))
      held = []
      bytes = 0
    }
    held.push(row)
    bytes += size
  }
  if (held.length > 0) yield encodeMessage('SnapshotChunk', chunk(held))
}
