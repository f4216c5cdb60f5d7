import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { Fault } from '../../base/fault.ts'
import type { NodeView } from '../nodes.ts'
import type { NodeDirectory, NodeRemover } from './ports.ts'
import { clientSignal, linkTo, relay } from './relay.ts'
import { forceQuery, idParams } from './schemas.ts'

const params = idParams('id')

export function nodeRoutes(app: FastifyInstance, nodes: NodeDirectory, remover: NodeRemover): void {
  app.get('/v1/nodes', { schema: { summary: 'All nodes' } }, async () => ({ nodes: nodes.nodes() }))
  app.get('/v1/nodes/:id', { schema: { summary: 'One node', params } }, async (request) => nodeOf(nodes, request))
  const removal = { schema: { summary: 'Remove a node for good', params, querystring: forceQuery } }
  app.delete('/v1/nodes/:id', removal, async (request, reply) => {
    const { id } = request.params as { readonly id: string }
    // One that has a certificate and never came in is in no list of nodes.
    const nodeId = isNodeId(id) ? id : nodeOf(nodes, request).nodeId
    await remover.remove(nodeId, (request.query as { readonly force?: string }).force === 'true', clientSignal(reply))
    return reply.code(204).send()
  })
}

const isNodeId = (id: string): boolean => /^[0-9a-f]{32}$/.test(id)

/** What only the node itself knows. To be registered where no body is parsed. */
export function nodeRelayRoutes(app: FastifyInstance, nodes: NodeDirectory): void {
  const pass = (request: FastifyRequest, reply: FastifyReply, path: string): Promise<void> =>
    relay(linkTo(nodes, nodeOf(nodes, request).nodeId), path, request, reply, clientSignal(reply))
  app.get('/v1/nodes/:id/health', { schema: { summary: 'Checks of a node', params } }, (q, r) => pass(q, r, '/v1/health'))
  app.get('/v1/nodes/:id/top', { schema: { summary: 'What tasks of a node use', params } }, (q, r) => pass(q, r, '/v1/top'))
  const isolators = { summary: 'Isolators of a node', params }
  app.get('/v1/nodes/:id/isolators', { schema: isolators }, (q, r) => pass(q, r, '/v1/isolators'))
  app.get('/v1/nodes/:id/stats', { schema: { summary: 'Usage and pressure of its tasks', params } }, (q, r) =>
    pass(q, r, '/v1/stats')
  )
  app.get('/v1/nodes/:id/metrics', { schema: { summary: 'Prometheus text of a node', params } }, (q, r) => pass(q, r, '/metrics'))
}

/** By id, by the beginning of an id, or by host name; throws a Fault where that is nobody or several. */
export function nodeOf(nodes: NodeDirectory, request: FastifyRequest): NodeView {
  const { id } = request.params as { readonly id: string }
  return findNode(nodes.nodes(), id)
}

export function findNode(nodes: readonly NodeView[], id: string): NodeView {
  const exact = nodes.find((n) => n.nodeId === id)
  if (exact !== undefined) return exact
  const named = nodes.filter((n) => n.hostname === id)
  const found = named.length > 0 ? named : nodes.filter((n) => n.nodeId.startsWith(id))
  const [only, ...others] = found
  if (only === undefined) throw new Fault('not-found', `there is no node ${id}; hearth node list shows them all`)
  if (others.length > 0) throw new Fault('conflict', `${id} could be any of ${found.length} nodes; give more of the id`)
  return only
}
