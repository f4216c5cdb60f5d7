import type { FastifyInstance } from 'fastify'
import { protocolVersion } from '../../proto/wire.ts'
import type { ClusterFacts } from './ports.ts'

export const versionAnswer = (version: string) => ({ version, protocol: protocolVersion })

export function clusterRoutes(app: FastifyInstance, version: string, facts: () => ClusterFacts): void {
  app.get('/v1/version', { schema: { summary: 'Version of the master' } }, async () => versionAnswer(version))
  app.get('/v1/cluster', { schema: { summary: 'The cluster' } }, async () => facts())
}
