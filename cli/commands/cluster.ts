import { systemClock } from '../../base/clock.ts'
import { Fault } from '../../base/fault.ts'
import type { JoinTokenFacts, NodeCertificate } from '../../sdk/identity-messages.ts'
import { type CommonOptions, type Context, widthOf, writeOut } from '../context.ts'
import { renderFacts, renderTable } from '../output/table.ts'

interface TokenOptions extends CommonOptions {
  readonly role: 'agent' | 'master'
  readonly ttl: string
  readonly uses: string
}

export async function showCluster(context: Context, options: CommonOptions): Promise<number> {
  const { stdout } = context.streams
  const overview = await context.client(options).identity.overview(context.signal)
  if (options.json === true) return await printJson(context, overview)
  const facts = renderFacts([
    ['cluster', overview.clusterId],
    ...overview.authorities.map(({ digest, untilMs, signs }): readonly [string, string] => [
      signs ? 'authority' : 'trusted still',
      `sha256 ${digest}, until ${day(untilMs)}`
    ])
  ])
  const table = renderTable<NodeCertificate>(
    [
      { title: 'NODE', value: (n) => n.nodeId, shrinks: true },
      { title: 'ROLE', value: (n) => n.role },
      { title: 'HOST', value: (n) => n.hostname },
      { title: 'CERTIFICATE UNTIL', value: (n) => day(n.untilMs) },
      { title: 'AUTHORITY', value: (n) => n.authority.slice(0, 12) },
      { title: 'JOINED', value: (n) => day(n.admittedAtMs) }
    ],
    overview.nodes,
    widthOf(stdout)
  )
  await writeOut(stdout, `${facts}${overview.nodes.length === 0 ? '' : table}`)
  return 0
}

export async function rotateAuthority(context: Context, options: CommonOptions): Promise<number> {
  const made = await context.client(options).identity.rotateAuthority(context.signal)
  if (options.json === true) return await printJson(context, made)
  const next = 'nodes renew their certificates within some minutes: see hearth cluster show, then hearth cluster ca retire'
  context.streams.stdout.write(`sha256 ${made.digest} signs from now on; ${next}\n`)
  return 0
}

export async function retireAuthority(context: Context, options: CommonOptions): Promise<number> {
  const { identity } = context.client(options)
  const old = (await identity.overview(context.signal)).authorities.filter((a) => !a.signs)
  if (old.length === 0) throw new Fault('not-found', 'there is no old authority: hearth cluster ca rotate makes a new one first')
  for (const { digest } of old) await identity.retireAuthority(digest, context.signal)
  return 0
}

export async function createToken(context: Context, options: TokenOptions): Promise<number> {
  const order = { role: options.role, ttlMs: parseTtl(options.ttl), uses: parseUses(options.uses) }
  const made = await context.client(options).identity.createToken(order, context.signal)
  if (options.json === true) return await printJson(context, made)
  const { stdout, stderr } = context.streams
  const times = order.uses === 1 ? 'one host' : `${order.uses} hosts`
  stderr.write(`lets ${times} in for ${options.ttl}; there: hearth ${order.role} join HOST --token TOKEN\n`)
  await writeOut(stdout, `${made.token}\n`)
  return 0
}

export async function listTokens(context: Context, options: CommonOptions): Promise<number> {
  const overview = await context.client(options).identity.overview(context.signal)
  // The log's own time goes on with its commands: in a quiet cluster one may be over and still there.
  const tokens = overview.tokens.filter((token) => token.expiresAtMs > systemClock.wallMs())
  if (options.json === true) return await printJson(context, tokens)
  const table = renderTable<JoinTokenFacts>(
    [
      { title: 'TOKEN', value: (t) => t.tokenId },
      { title: 'ROLE', value: (t) => t.role },
      { title: 'USES LEFT', value: (t) => String(t.usesLeft), align: 'right' },
      { title: 'UNTIL', value: (t) => new Date(t.expiresAtMs).toISOString().slice(0, 19) }
    ],
    tokens,
    widthOf(context.streams.stdout)
  )
  await writeOut(context.streams.stdout, table)
  return 0
}

export async function revokeToken(context: Context, id: string, options: CommonOptions): Promise<number> {
  // The whole token is what people have at hand.
  const [first = '', second] = id.split('.')
  await context.client(options).identity.revokeToken(second ?? first, context.signal)
  return 0
}

const units: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const mostMs = 365 * 86_400_000

export function parseTtl(text: string): number {
  const [, count = '', unit = ''] = /^(\d{1,6})([smhd])$/.exec(text) ?? []
  const ms = Number(count) * (units[unit] ?? 0)
  if (ms >= 1_000 && ms <= mostMs) return ms
  throw new Fault('invalid', `--ttl must be a time such as 30m, 1h or 7d, at most 365d, not ${JSON.stringify(text)}`)
}

function parseUses(text: string): number {
  const uses = /^\d{1,6}$/.test(text) ? Number(text) : 0
  if (uses >= 1 && uses <= 100_000) return uses
  throw new Fault('invalid', `--uses must be a whole number from 1 to 100000, not ${JSON.stringify(text)}`)
}

const day = (ms: number): string => new Date(ms).toISOString().slice(0, 10)

async function printJson(context: Context, value: unknown): Promise<number> {
  await writeOut(context.streams.stdout, `${JSON.stringify(value, null, 2)}\n`)
  return 0
}
