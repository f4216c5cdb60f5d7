import type { Answer, CreateOperator } from '../../proto/gen/messages.ts'
import { accepted, isId, refused } from './answer.ts'
import type { ClusterLimits, ClusterState } from './cluster.ts'

const roles: ReadonlySet<string> = new Set(['viewer', 'operator', 'admin'])

export function createOperator(state: ClusterState, command: CreateOperator, index: number, limits: ClusterLimits): Answer {
  const { operator, ttlMs } = command
  if (operator === null || !isId(operator.operatorId) || !isId(operator.name) || !isId(operator.secretDigest)) {
    return refused('invalid', 'an operator has an id, a name and the digest of its secret')
  }
  if (!roles.has(operator.role)) return refused('invalid', 'an operator is a viewer, an operator or an admin')
  if (ttlMs < 0 || (operator.tenant !== '' && operator.role !== 'operator')) {
    return refused('invalid', 'only the role operator is limited to a tenant, and no time is negative')
  }
  if (state.operators.has(operator.name)) return refused('conflict', `there is an operator ${operator.name} already`)
  if (state.operators.size >= limits.operators) {
    return refused('exhausted', `the cluster holds ${limits.operators} operators already: remove some`)
  }
  const { atMs: createdAtMs } = state
  const expiresAtMs = ttlMs === 0 ? 0 : createdAtMs + ttlMs
  state.operators.set(operator.name, { ...operator, createdAtMs, expiresAtMs })
  return accepted(index)
}

export function removeOperator(state: ClusterState, name: string, index: number): Answer {
  return state.operators.delete(name) ? accepted(index) : refused('not-found', `there is no operator ${name}`)
}
