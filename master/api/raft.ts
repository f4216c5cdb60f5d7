import type { FastifyInstance } from 'fastify'
import type { RaftFacts } from '../consensus/raft-facts.ts'
import type { Added, Members } from '../members.ts'
import type { MembersFacts } from '../members-facts.ts'

/** The log and its members, as the operator API needs them. */
export interface RaftDesk extends Pick<Members, 'add' | 'replace' | 'remove' | 'transfer' | 'snapshot' | 'backup'> {
  facts(): Promise<RaftFacts>
  members(signal: AbortSignal): Promise<MembersFacts>
  metrics(): Promise<string>
}

const address = {
  type: 'string',
  maxLength: 300,
  pattern: '^(tcp|tls):.+:\\d{1,5}$',
  description: 'where the waiting master listens for its peers, as tls:HOST:PORT, or tcp:127.0.0.1:PORT on its own host'
} as const
const body = (properties: object, required: readonly string[]) => ({
  type: 'object',
  properties,
  required,
  additionalProperties: false
})
const idParams = body({ id: { type: 'string', pattern: '^[1-9]\\d{0,8}$' } }, ['id'])
interface WithId {
  Params: { id: string }
}

export function raftRoutes(app: FastifyInstance, desk: RaftDesk): void {
  app.get('/v1/raft', { schema: { summary: 'How this master sees the log and its members' } }, () => desk.facts())
  app.get('/v1/raft/members', { schema: { summary: 'How each of the masters sees the log' } }, () =>
    desk.members(new AbortController().signal)
  )
  app.get('/metrics', { schema: { summary: 'Figures of this master, for Prometheus' } }, async (_request, reply) => {
    void reply.type('text/plain; version=0.0.4; charset=utf-8')
    return await desk.metrics()
  })
  app.post<{ Body: { address: string } }>(
    '/v1/raft/members',
    { schema: { summary: 'Takes a waiting master in, as a learner that becomes a voter', body: body({ address }, ['address']) } },
    async (request, reply): Promise<Added> => {
      void reply.code(201)
      return await desk.add(request.body.address)
    }
  )
  app.post<WithId & { Body: { address: string } }>(
    '/v1/raft/members/:id/replace',
    {
      schema: {
        summary: 'A waiting master takes the place of a member, in one step once it has caught up',
        params: idParams,
        body: body({ address }, ['address'])
      }
    },
    (request) => desk.replace(Number(request.params.id), request.body.address)
  )
  app.delete<WithId>(
    '/v1/raft/members/:id',
    { schema: { summary: 'Takes a member out', params: idParams } },
    async (request, reply) => {
      await desk.remove(Number(request.params.id))
      return reply.code(204).send()
    }
  )
  app.post<{ Body: { to?: number } }>(
    '/v1/raft/transfer',
    { schema: { summary: 'Hands leadership over', body: body({ to: { type: 'integer', minimum: 1 } }, []) } },
    (request) => desk.transfer(request.body.to)
  )
  app.get(
    '/v1/raft/backup',
    { schema: { summary: 'The whole state, as the bytes of a snapshot file' } },
    async (_request, reply) => {
      void reply.type('application/octet-stream')
      return await desk.backup()
    }
  )
  app.post(
    '/v1/raft/snapshot',
    { schema: { summary: 'The master that leads takes a snapshot and drops the log before it', body: body({}, []) } },
    () => desk.snapshot()
  )
}
