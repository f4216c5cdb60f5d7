import type { FastifyInstance, FastifyRequest } from 'fastify'
import { Fault } from '../../base/fault.ts'
import type { NodeView } from '../agents.ts'
import type { NodeDirectory } from './ports.ts'
import { idParams } from './schemas.ts'

const params = idParams('id')

export function nodeRoutes(app: FastifyInstance, nodes: NodeDirectory): void {
  app.get('/v1/nodes', { schema: { summary: 'All nodes' } }, async () => ({ nodes: nodes.nodes() }))
  app.get('/v1/nodes/:id', { schema: { summary: 'One node', params } }, async (request) => nodeOf(nodes, request))
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
