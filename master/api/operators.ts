import { randomBytes } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import { Fault } from '../../base/fault.ts'
import { randomToken } from '../../base/random.ts'
import { digestOf, formatJoinToken } from '../../identity/join-token.ts'
import { role as parseRole } from '../../proto/ids.ts'
import type { AuditLog } from '../audit.ts'
import type { Proposer } from '../proposer.ts'
import type { ClusterState } from '../state/cluster.ts'
import { signingAuthority } from '../state/identities.ts'
import { operatorParams, operatorRequest } from './identity-schemas.ts'
import { clientSignal } from './relay.ts'

interface OperatorBody {
  readonly name: string
  readonly role: 'viewer' | 'operator' | 'admin'
  readonly tenant?: string
  readonly ttlMs?: number
}

export interface OperatorDesk {
  readonly state: Pick<ClusterState, 'operators' | 'authorities'>
  readonly proposer: Pick<Proposer, 'propose'>
  readonly audit: Pick<AuditLog, 'newest'>
}

/** People and programs that use the API from other hosts, and what was done. */
export function operatorRoutes(app: FastifyInstance, { state, proposer, audit }: OperatorDesk): void {
  app.get('/v1/operators', { schema: { summary: 'All operators; no secrets' } }, async () => ({
    operators: [...state.operators.values()].map(({ name, role, tenant, createdAtMs, expiresAtMs }) => ({
      ...{ name, role, tenant, createdAtMs, expiresAtMs }
    }))
  }))
  const create = { schema: { summary: 'Make an operator and its token', body: operatorRequest } }
  app.post('/v1/operators', create, async (request, reply) => {
    const { name, role, tenant = '', ttlMs = 0 } = request.body as OperatorBody
    if (tenant !== '') parseRole(tenant)
    const authority = signingAuthority(state)?.digest
    if (authority === undefined)
      throw new Fault('unavailable', 'the cluster has no certificate authority yet: try again in a moment')
    const operatorId = randomBytes(8).toString('hex')
    const secret = randomToken()
    const operator = { operatorId, name, role, tenant, secretDigest: digestOf(secret) }
    await proposer.propose({ createOperator: { operator, ttlMs } }, clientSignal(reply))
    return reply.code(201).send({ name, token: formatJoinToken({ tokenId: operatorId, secret, authority }) })
  })
  app.delete(
    '/v1/operators/:id',
    { schema: { summary: 'Remove an operator', params: operatorParams } },
    async (request, reply) => {
      const { id: name } = request.params as { readonly id: string }
      await proposer.propose({ removeOperator: { name } }, clientSignal(reply))
      return reply.code(204).send()
    }
  )
  app.get('/v1/audit', { schema: { summary: 'The newest entries of this master’s audit log, oldest first' } }, async () => ({
    entries: await audit.newest()
  }))
}
