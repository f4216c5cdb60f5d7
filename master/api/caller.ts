import { timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { Fault } from '../../base/fault.ts'
import { parseJoinToken } from '../../identity/join-token.ts'
import type { OperatorRow } from '../../proto/gen/messages.ts'
import type { CertifiedNode, Visitor } from '../identity/guard.ts'
import { digest } from './door.ts'

export type OperatorRole = 'viewer' | 'operator' | 'admin'

/** Who asks for something, and from where: what the doors know of a request. */
export interface Caller {
  /** For people and the audit log. */
  readonly who: string
  readonly from: string
  /** Absent for nodes and newcomers, who are let in for what is theirs alone. */
  readonly role?: OperatorRole
  /** Of an operator: the role whose tasks it may change, with all below it; empty: all. */
  readonly tenant: string
  readonly node?: CertifiedNode
  /** Why a certificate that was shown is not believed. */
  readonly refusal?: string
}

/**
 * In which the doors put who asks. It goes along where a follower passes a request on; at the socket it can only make an administrator
 * less than that, and from everywhere else it is overwritten.
 */
export const callerHeader = 'x-hearth-caller'

export const callerText = (caller: Caller): string => encodeURIComponent(JSON.stringify(caller))

export function callerOf(headers: IncomingHttpHeaders): Caller {
  const text = headers[callerHeader]
  if (typeof text !== 'string') return localAdmin('socket')
  try {
    return JSON.parse(decodeURIComponent(text)) as Caller
  } catch (cause) {
    throw new Fault('invalid', `${callerHeader} is for masters among themselves`, {}, cause)
  }
}

/** Whoever can open the socket, or read the file of the token, is the administrator of this host. */
export const localAdmin = (from: 'socket' | 'loopback'): Caller => ({
  who: `administrator of this host`,
  from,
  role: 'admin',
  tenant: ''
})

type Operators = ReadonlyMap<string, OperatorRow>

/** Who stands at the door for other hosts; whoever shows nothing that is good is a stranger. */
export function callerFromAfar(
  { from, node, refusal }: Visitor,
  { headers }: Pick<IncomingMessage, 'headers'>,
  operators: Operators,
  nowMs: number
): Caller {
  const [, given = ''] = /^Bearer +(\S+)$/i.exec(headers.authorization ?? '') ?? []
  if (given !== '')
    return { ...(operatorOf(given, operators, nowMs) ?? { who: 'a stranger', tenant: '', refusal: unknownToken }), from }
  if (refusal !== undefined) return { who: `a stranger (${refusal.message})`, from, tenant: '', refusal: refusal.message }
  return node === undefined
    ? { who: 'a stranger', from, tenant: '' }
    : { who: `${node.role} ${node.nodeId}`, from, tenant: '', node }
}

const unknownToken = 'the token is unknown, removed or expired: make another with hearth operator create'

/** Undefined for a token that is not good. */
function operatorOf(token: string, operators: Operators, nowMs: number): Omit<Caller, 'from'> | undefined {
  const parsed = tryParse(token)
  if (parsed === undefined) return undefined
  // By id first: what is compared in the same time for every guess is the secret alone.
  const row = [...operators.values()].find((operator) => operator.operatorId === parsed.tokenId)
  if (
    row === undefined ||
    !timingSafeEqual(digest(parsed.secret), Buffer.from(row.secretDigest.padEnd(64, '0').slice(0, 64), 'hex'))
  ) {
    return undefined
  }
  if (row.expiresAtMs !== 0 && row.expiresAtMs <= nowMs) return undefined
  return { who: `operator ${row.name}`, role: row.role as OperatorRole, tenant: row.tenant }
}

function tryParse(token: string) {
  try {
    return parseJoinToken(token)
  } catch {
    return undefined // whatever it is, it is not good: one answer for all of them
  }
}

type Need = OperatorRole | 'everybody' | 'node'

/** What a route asks of its caller, by method and pattern. The first row that fits counts; what is in no row is for administrators. */
const needs: readonly (readonly [method: string, route: RegExp, need: Need])[] = [
  ['POST', /^\/v1\/join$/, 'everybody'],
  ['POST', /^\/v1\/certificates$/, 'node'],
  ['GET', /^\/v1\/(identity|operators|audit|raft\/backup)$/, 'admin'],
  ['GET', /^\/v1\/(version|cluster|raft|nodes|tasks|tenants|events|openapi\.json)(\/|$)/, 'viewer'],
  ['GET', /^\/metrics$/, 'viewer'],
  ['POST', /^\/v1\/tasks(\/|$)/, 'operator'],
  ['PUT', /^\/v1\/tasks\//, 'operator'],
  ['DELETE', /^\/v1\/tasks\//, 'operator'],
  ['POST', /^\/v1\/nodes\/:id\/images(\/|$)/, 'operator'],
  ['DELETE', /^\/v1\/nodes\/:id\/images\//, 'operator']
]

const ranks: readonly OperatorRole[] = ['viewer', 'operator', 'admin']

/** Throws `Fault('denied')`. `route` is the pattern as it was registered: no spelling of a path gets around it. */
export function checkCaller(caller: Caller, method: string, route: string): void {
  const need = needs.find(([m, pattern]) => m === method && pattern.test(route))?.[2] ?? 'admin'
  if (need === 'everybody' || need === 'node') return
  if (caller.role === undefined) {
    if (caller.refusal !== undefined) throw new Fault('denied', caller.refusal)
    throw new Fault(
      'denied',
      `${caller.who} may not use the API: send a token of hearth operator create as Authorization: Bearer TOKEN`
    )
  }
  if (ranks.indexOf(caller.role) < ranks.indexOf(need)) {
    throw new Fault('denied', `${caller.who} is a ${caller.role}; this needs the role ${need}`)
  }
  const isChange = method !== 'GET'
  if (caller.tenant !== '' && isChange && !route.startsWith('/v1/tasks')) {
    throw new Fault('denied', `${caller.who} may change tasks of ${caller.tenant} and nothing else`)
  }
}

/** Throws `Fault('denied')` for a task of another tenant. `role` is the task's. */
export function checkTenant({ who, tenant }: Caller, role: string): void {
  if (tenant === '' || role === tenant || role.startsWith(`${tenant}/`)) return
  throw new Fault('denied', `${who} may use tasks of ${tenant} alone, and this one is of ${role}`)
}
