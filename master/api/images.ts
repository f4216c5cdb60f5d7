import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { nodeOf } from './nodes.ts'
import type { NodeDirectory } from './ports.ts'
import { clientSignal, linkTo, relay } from './relay.ts'
import { idParams } from './schemas.ts'

/** Images live on nodes: every route here is the agent's own. To be registered where no body is parsed. */
export function imageRoutes(app: FastifyInstance, nodes: NodeDirectory): void {
  const pass = (request: FastifyRequest, reply: FastifyReply, tail: string): Promise<void> => {
    const node = nodeOf(nodes, request)
    return relay(linkTo(nodes, node.nodeId), `/v1/images${tail}`, request, reply, clientSignal(reply))
  }
  const params = idParams('id')
  const named = { ...params, required: ['id', 'name'], properties: { ...params.properties, name: { type: 'string' } } }
  const one = (request: FastifyRequest): string => `/${encodeURIComponent((request.params as { readonly name: string }).name)}`

  app.get('/v1/nodes/:id/images', { schema: { summary: 'Images of a node', params } }, (q, r) => pass(q, r, ''))
  app.post('/v1/nodes/:id/images', { schema: { summary: 'Import an archive', params } }, (q, r) => pass(q, r, ''))
  app.post('/v1/nodes/:id/images/pull', { schema: { summary: 'Pull an image', params } }, (q, r) => pass(q, r, '/pull'))
  app.post('/v1/nodes/:id/images/verify', { schema: { summary: 'Look at every byte of an image', params } }, (q, r) =>
    pass(q, r, '/verify')
  )
  app.post('/v1/nodes/:id/images/prune', { schema: { summary: 'Remove images that no container uses', params } }, (q, r) =>
    pass(q, r, '/prune')
  )
  app.post('/v1/nodes/:id/images/collect', { schema: { summary: 'Remove what nothing uses', params } }, (q, r) =>
    pass(q, r, '/collect')
  )
  app.get('/v1/nodes/:id/images/:name', { schema: { summary: 'One image', params: named } }, (q, r) => pass(q, r, one(q)))
  app.delete('/v1/nodes/:id/images/:name', { schema: { summary: 'Remove an image', params: named } }, (q, r) =>
    pass(q, r, one(q))
  )
}
