import type { FastifyInstance } from 'fastify'
import { Fault } from '../../base/fault.ts'
import type { CertificateDesk } from '../identity/certificate-desk.ts'
import { callerOf } from './caller.ts'
import { joinRequest, renewRequest, tokenParams, tokenRequest } from './identity-schemas.ts'
import { clientSignal } from './relay.ts'

interface TokenBody {
  readonly role: 'agent' | 'master'
  readonly ttlMs: number
  readonly uses: number
}

interface JoinBody {
  readonly tokenId: string
  readonly secret: string
  readonly role: 'agent' | 'master'
  readonly nodeId: string
  readonly hostname: string
  readonly request: string
}

/** What operators do about who may come in. */
export function identityRoutes(app: FastifyInstance, desk: CertificateDesk): void {
  app.get('/v1/identity', { schema: { summary: 'Authorities, nodes and tokens' } }, async () => desk.overview())
  app.post(
    '/v1/tokens',
    { schema: { summary: 'Make a token that lets nodes in', body: tokenRequest } },
    async (request, reply) => {
      const made = await desk.createToken(request.body as TokenBody, clientSignal(reply))
      return reply.code(201).send(made)
    }
  )
  app.delete('/v1/tokens/:id', { schema: { summary: 'Revoke a token', params: tokenParams } }, async (request, reply) => {
    await desk.revokeToken((request.params as { readonly id: string }).id, clientSignal(reply))
    return reply.code(204).send()
  })
}

/** One authority after the other. */
export function authorityRoutes(app: FastifyInstance, desk: CertificateDesk): void {
  app.post('/v1/authorities', { schema: { summary: 'Let a new authority sign from now on' } }, async (_request, reply) =>
    reply.code(201).send(await desk.rotate(clientSignal(reply)))
  )
  const retire = { schema: { summary: 'Trust an old authority no longer', params: tokenParams } }
  app.delete('/v1/authorities/:id', retire, async (request, reply) => {
    await desk.retire((request.params as { readonly id: string }).id, clientSignal(reply))
    return reply.code(204).send()
  })
}

/** What nodes do, from other hosts, to get and keep their certificates. */
export function visitorRoutes(app: FastifyInstance, desk: CertificateDesk): void {
  const forEverybody = {
    schema: { summary: 'Take a certificate for a token', body: joinRequest }
  }
  app.post('/v1/join', forEverybody, async (request, reply) => {
    const { tokenId, secret, ...applicant } = request.body as JoinBody
    return desk.admit({ tokenId, secret }, applicant, clientSignal(reply))
  })
  const forNodes = { schema: { summary: 'Renew the own certificate', body: renewRequest } }
  app.post('/v1/certificates', forNodes, async (request, reply) => {
    const { node, refusal } = callerOf(request.headers)
    if (refusal !== undefined) throw new Fault('denied', refusal)
    if (node === undefined) throw new Fault('denied', 'nodes renew their certificates with the one that they have, over TLS')
    return desk.renew(node, (request.body as { readonly request: string }).request, clientSignal(reply))
  })
}
