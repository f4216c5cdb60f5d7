import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { nodeOf } from './nodes.ts'
import type { NodeDirectory } from './ports.ts'
import { clientSignal, linkTo, relay } from './relay.ts'
import { idParams } from './schemas.ts'

/** The agent's own comparison of its ledger with its host. To be registered where no body is parsed. */
export function fsckRoutes(app: FastifyInstance, nodes: NodeDirectory): void {
  const params = idParams('id')
  const pass = (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    const node = nodeOf(nodes, request)
    return relay(linkTo(nodes, node.nodeId), '/v1/fsck', request, reply, clientSignal(reply))
  }
  app.get('/v1/nodes/:id/fsck', { schema: { summary: 'Where ledger and host of a node differ', params } }, pass)
  app.post('/v1/nodes/:id/fsck', { schema: { summary: 'Adopt or remove what no row owns', params } }, pass)
}
