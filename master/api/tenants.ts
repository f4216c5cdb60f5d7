import type { FastifyInstance, FastifyRequest } from 'fastify'
import { Fault } from '../../base/fault.ts'
import { signingKeyText } from '../../identity/signing-key.ts'
import type { SignatureRule, TenantPolicy } from '../../proto/gen/messages.ts'
import { role as parseRole } from '../../proto/ids.ts'
import { capabilityName } from '../../proto/linux-capabilities.ts'
import type { PolicyChange, Tenants } from '../tenants.ts'
import { clientSignal } from './relay.ts'
import { idParams, policySchema } from './schemas.ts'

export type TenantDirectory = Pick<Tenants, 'list' | 'policyOf' | 'set' | 'remove'>

const params = idParams('role')

export function tenantRoutes(app: FastifyInstance, tenants: TenantDirectory): void {
  app.get('/v1/tenants', { schema: { summary: 'The policies of all roles that have one' } }, async () => ({
    tenants: tenants.list().map((policy) => tenantJson(policy.role, policy))
  }))

  app.get('/v1/tenants/:role', { schema: { summary: 'The policy that counts for a role', params } }, async (request) => {
    const role = roleOf(request)
    return tenantJson(role, tenants.policyOf(role))
  })

  const change = { schema: { summary: 'Set a role’s policy; what is left out stays as it is', params, body: policySchema } }
  app.patch('/v1/tenants/:role', change, async (request, reply) => {
    const role = roleOf(request)
    const policy = await tenants.set(role, changeOf(request.body as PolicyChange), clientSignal(reply))
    return tenantJson(role, policy)
  })

  const drop = { schema: { summary: 'Remove a role’s own policy; the one above it then counts', params } }
  app.delete('/v1/tenants/:role', drop, async (request, reply) => {
    await tenants.remove(roleOf(request), clientSignal(reply))
    return reply.code(204).send()
  })
}

const roleOf = (request: FastifyRequest): string => parseRole((request.params as { readonly role: string }).role)

function changeOf(change: PolicyChange): PolicyChange {
  const { signatures } = change
  if (signatures !== undefined) return { ...withNames({ ...change }), signatures: signatures.map(withPlainKeys) }
  return withNames(change)
}

const withPlainKeys = (rule: SignatureRule): SignatureRule => ({ ...rule, keys: rule.keys.map(signingKeyText) })

function withNames(change: PolicyChange): PolicyChange {
  if (change.capabilities === undefined) return change
  const capabilities = change.capabilities.map((text) => {
    const name = capabilityName(text)
    if (name !== undefined) return name
    throw new Fault('invalid', `there is no Linux capability ${JSON.stringify(text)}: they are called NET_RAW and so on, or ALL`)
  })
  return { ...change, capabilities }
}

/** `from`: whose policy it is; null for the usual one, where none was ever set. */
const tenantJson = (role: string, { role: from, ...policy }: TenantPolicy) => ({
  role,
  from: from === '' ? null : from,
  ...policy
})
