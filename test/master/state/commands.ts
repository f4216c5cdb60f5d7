import fc from 'fast-check'
import { apply } from '../../../master/state/apply.ts'
import { ClusterState } from '../../../master/state/cluster.ts'
import { encodeSnapshot, freezeState, SnapshotDecoder } from '../../../master/state/snapshot.ts'
import { completeMessage, type Init } from '../../../proto/codec.ts'
import type { Answer, Command, SetAgentCondition } from '../../../proto/gen/messages.ts'

/** A state with commands applied one after the other. */
export class Cluster {
  readonly state: ClusterState

  constructor(state = new ClusterState()) {
    this.state = state
  }

  does(command: Init<Command>): Answer {
    return apply(this.state, completeMessage('Command', command), this.state.index + 1)
  }
}

/** An initialised cluster with framework `f` and agent `a`. */
export function newCluster(): Cluster {
  const cluster = new Cluster()
  cluster.does({ initCluster: { clusterId: 'c' } })
  cluster.does({ registerFramework: { framework: { frameworkId: 'f', name: 'first', roles: ['*'] } } })
  cluster.does({ registerAgent: { agentId: 'a', hostname: 'host', resources: [{ name: 'cpus', kind: 'scalar', scalar: 4000 }] } })
  return cluster
}

export const assign = (attempt: number, taskId = 't', agentId = 'a'): Init<Command> => ({
  assignTask: { frameworkId: 'f', taskId, attempt, agentId, containerId: 'x'.repeat(32) }
})

export const end = (attempt: number, taskId = 't'): Init<Command> => ({
  endTask: { frameworkId: 'f', taskId, attempt, status: { taskId, frameworkId: 'f', attempt, state: 'finished', exitCode: 0 } }
})

export const store = (more: Init<NonNullable<Command['storeTransaction']>>): Init<Command> => ({
  storeTransaction: { frameworkId: 'f', ...more }
})

/** The bytes of the state, as one text. */
export function encoded(state: ClusterState): string {
  return Buffer.concat([...encodeSnapshot(freezeState(state, { nodeId: 'n', term: 1 }))]).toString('base64')
}

export function reloaded(state: ClusterState): ClusterState {
  const decoder = new SnapshotDecoder()
  for (const message of encodeSnapshot(freezeState(state, { nodeId: 'n', term: 1 }))) decoder.push(message)
  return decoder.finish().state
}

const id = fc.constantFrom('', 'a', 'b', 'f', 'g', 't', 'u', 'x/y', 'é'.repeat(200))
const count = fc.constantFrom(0, 1, 2, 3, Number.MAX_SAFE_INTEGER)
const condition = fc.constantFrom<SetAgentCondition['condition']>(
  'unspecified_condition',
  'active',
  'agent_unreachable',
  'agent_gone'
)
const resource = fc.record({
  name: id,
  kind: fc.constantFrom('unspecified_kind', 'scalar', 'ranges', 'set'),
  scalar: fc.constantFrom(-1, 0, 5, Number.MIN_SAFE_INTEGER),
  ranges: fc.array(fc.record({ begin: fc.integer(), end: fc.integer() }), { maxLength: 2 })
})
const value = fc.uint8Array({ maxLength: 20 })
const status = fc.record({
  state: fc.constantFrom('unspecified_state', 'running', 'finished', 'failed', 'gone'),
  message: fc.string()
})

const body = fc.oneof(
  fc.record({ initCluster: fc.record({ clusterId: id }) }),
  fc.record({ raiseFeatureLevel: fc.record({ level: fc.constantFrom(0, 1, 3) }) }),
  fc.record({
    registerAgent: fc.record({ agentId: id, hostname: fc.string(), resources: fc.array(resource, { maxLength: 2 }) })
  }),
  fc.record({ setAgentCondition: fc.record({ agentId: id, condition }) }),
  fc.record({ registerFramework: fc.record({ framework: fc.option(fc.record({ frameworkId: id, name: fc.string() })) }) }),
  fc.record({ assignTask: fc.record({ frameworkId: id, taskId: id, attempt: fc.constantFrom(0, 1, 2), agentId: id }) }),
  fc.record({
    endTask: fc.record({ frameworkId: id, taskId: id, attempt: fc.constantFrom(0, 1, 2), status: fc.option(status) })
  }),
  fc.record({ forgetTask: fc.record({ frameworkId: id, taskId: id }) }),
  fc.record({
    storeTransaction: fc.record({
      frameworkId: id,
      conditions: fc.array(fc.record({ key: id, version: count }), { maxLength: 2 }),
      writes: fc.array(fc.record({ key: id, value, remove: fc.boolean() }), { maxLength: 3 })
    })
  }),
  fc.record({ openSession: fc.record({ session: id }) }),
  fc.record({
    setAuthority: fc.record({
      after: id,
      authority: fc.option(fc.record({ digest: id, certificate: value, sealedKey: id, notAfterMs: count }))
    })
  }),
  fc.record({ retireAuthority: fc.record({ digest: id }) }),
  fc.record({
    createJoinToken: fc.record({ tokenId: id, secretDigest: id, role: fc.constantFrom('agent', 'x'), uses: count, ttlMs: count })
  }),
  fc.record({ revokeJoinToken: fc.record({ tokenId: id }) }),
  fc.record({
    admitNode: fc.record({
      tokenId: id,
      secretDigest: id,
      node: fc.option(fc.record({ nodeId: id, role: fc.constantFrom('agent', 'x'), serials: fc.array(id, { maxLength: 2 }) }))
    })
  }),
  fc.record({ renewCertificate: fc.record({ nodeId: id, presented: id, serial: id, notAfterMs: count }) }),
  fc.record({ removeNode: fc.record({ nodeId: id }) }),
  fc.record({
    createOperator: fc.record({
      ttlMs: count,
      operator: fc.option(
        fc.record({ operatorId: id, name: id, role: fc.constantFrom('admin', 'x'), tenant: id, secretDigest: id })
      )
    })
  }),
  fc.record({ removeOperator: fc.record({ name: id }) }),
  fc.constant({}),
  fc.constant({ initCluster: { clusterId: 'c' }, openSession: { session: 's' } })
)

/** Sound and unsound commands of every kind, often about the same few names. */
export const anyCommand: fc.Arbitrary<Init<Command>> = fc
  .tuple(fc.constantFrom('', '', 's', 'q', 'z'), fc.constantFrom(0, 1, 2, 3, 4), fc.nat(1000), body)
  .map(([session, seq, atMs, filled]) => ({ session, seq, atMs, ...filled }) as Init<Command>)
