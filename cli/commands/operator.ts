import { Fault } from '../../base/fault.ts'
import type { AuditEntry, OperatorFacts } from '../../sdk/identity-messages.ts'
import { type CommonOptions, type Context, widthOf, writeOut } from '../context.ts'
import { renderTable } from '../output/table.ts'
import { parseTtl } from './cluster.ts'

interface CreateOptions extends CommonOptions {
  readonly role: 'viewer' | 'operator' | 'admin'
  readonly tenant?: string
  readonly ttl?: string
}

interface AuditOptions extends CommonOptions {
  readonly lines: string
}

export async function createOperator(context: Context, name: string, options: CreateOptions): Promise<number> {
  const { role, tenant, ttl } = options
  if (tenant !== undefined && role !== 'operator') throw new Fault('invalid', '--tenant goes with --role operator')
  const order = {
    name,
    role,
    ...(tenant === undefined ? {} : { tenant }),
    ...(ttl === undefined ? {} : { ttlMs: parseTtl(ttl) })
  }
  const made = await context.client(options).identity.createOperator(order, context.signal)
  const { stdout, stderr } = context.streams
  if (options.json === true) return await printJson(context, made)
  stderr.write('on the other host: HEARTH_ADDR=https://MASTER:7341 HEARTH_TOKEN=TOKEN hearth task list\n')
  await writeOut(stdout, `${made.token}\n`)
  return 0
}

export async function listOperators(context: Context, options: CommonOptions): Promise<number> {
  const operators = await context.client(options).identity.operators(context.signal)
  if (options.json === true) return await printJson(context, operators)
  const table = renderTable<OperatorFacts>(
    [
      { title: 'NAME', value: (o) => o.name },
      { title: 'ROLE', value: (o) => o.role },
      { title: 'TENANT', value: (o) => o.tenant },
      { title: 'UNTIL', value: (o) => (o.expiresAtMs === 0 ? '' : minute(o.expiresAtMs)) }
    ],
    operators,
    widthOf(context.streams.stdout)
  )
  await writeOut(context.streams.stdout, table)
  return 0
}

export async function removeOperator(context: Context, name: string, options: CommonOptions): Promise<number> {
  await context.client(options).identity.removeOperator(name, context.signal)
  return 0
}

export async function showAudit(context: Context, options: AuditOptions): Promise<number> {
  const lines = /^[1-9]\d{0,5}$/.test(options.lines) ? Number(options.lines) : 0
  if (lines === 0) throw new Fault('invalid', `--lines must be a whole number from 1 on, not ${JSON.stringify(options.lines)}`)
  const entries = (await context.client(options).identity.audit(context.signal)).slice(-lines)
  if (options.json === true) return await printJson(context, entries)
  const table = renderTable<AuditEntry>(
    [
      { title: 'TIME', value: (e) => new Date(e.atMs).toISOString().slice(0, 19) },
      { title: 'WHO', value: (e) => e.who },
      { title: 'FROM', value: (e) => e.from },
      { title: 'WHAT', value: (e) => `${e.method} ${e.path}`, shrinks: true },
      { title: 'RESULT', value: (e) => (e.status < 400 ? 'done' : `refused (${e.status})`) }
    ],
    entries,
    widthOf(context.streams.stdout)
  )
  await writeOut(context.streams.stdout, table)
  return 0
}

const minute = (ms: number): string => new Date(ms).toISOString().slice(0, 16)

async function printJson(context: Context, value: unknown): Promise<number> {
  await writeOut(context.streams.stdout, `${JSON.stringify(value, null, 2)}\n`)
  return 0
}
