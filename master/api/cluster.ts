import type { FastifyInstance } from 'fastify'
import { protocolVersion } from '../../proto/wire.ts'
import type { RaftFacts } from '../consensus/raft-facts.ts'
import type { ClusterFacts } from './ports.ts'

export function clusterRoutes(app: FastifyInstance, version: string, facts: () => ClusterFacts, raft: () => RaftFacts): void {
  app.get('/v1/version', { schema: { summary: 'Version of the master' } }, async () => ({ version, protocol: protocolVersion }))
  app.get('/v1/cluster', { schema: { summary: 'The cluster' } }, async () => facts())
  app.get('/v1/raft', { schema: { summary: 'How this master sees the log and its members' } }, async () => raft())
}
