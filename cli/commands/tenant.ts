import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { errnoOf, Fault, isFault } from '../../base/fault.ts'
import { signingKeyText } from '../../identity/signing-key.ts'
import { requirableWalls } from '../../proto/tenant-policy.ts'
import type { SignatureRule, Tenant, TenantChange } from '../../sdk/operator-messages.ts'
import { type CommonOptions, type Context, widthOf, writeOut } from '../context.ts'
import { renderFacts, renderTable } from '../output/table.ts'
import { parseCapability } from '../wall-options.ts'
import { forEach } from './task-move.ts'

interface SetOptions extends CommonOptions {
  readonly require?: readonly string[]
  readonly image?: readonly string[]
  readonly registry?: readonly string[]
  readonly hostPath?: readonly string[]
  readonly device?: readonly string[]
  readonly cap?: readonly string[]
  readonly seccomp?: readonly string[]
  readonly signed?: readonly string[]
}

export async function setTenant(context: Context, role: string, options: SetOptions): Promise<number> {
  const tenant = await context.client(options).tenants.set(role, changeOf(options), context.signal)
  return tell(context, tenant, options)
}

export async function showTenant(context: Context, role: string, options: CommonOptions): Promise<number> {
  return tell(context, await context.client(options).tenants.show(role, context.signal), options)
}

export async function listTenants(context: Context, options: CommonOptions): Promise<number> {
  const tenants = await context.client(options).tenants.list(context.signal)
  const { stdout } = context.streams
  if (options.json === true) {
    await writeOut(stdout, `${JSON.stringify(tenants, null, 2)}\n`)
    return 0
  }
  const column = (title: string, of: (tenant: Tenant) => readonly string[]) => ({
    title,
    value: (tenant: Tenant) => items(of(tenant)),
    shrinks: true
  })
  const table = renderTable(
    [
      { title: 'ROLE', value: (tenant: Tenant) => tenant.role },
      column('REQUIRED', (t) => t.required),
      column('IMAGES', (t) => t.images),
      column('REGISTRIES', (t) => t.registries),
      column('HOST PATHS', (t) => t.hostPaths),
      column('DEVICES', (t) => t.devices),
      column('CAPABILITIES', (t) => t.capabilities),
      column('SECCOMP', (t) => t.seccomp),
      column('SIGNED', (t) => t.signatures.map(({ images }) => images))
    ],
    tenants,
    widthOf(stdout)
  )
  await writeOut(stdout, table)
  return 0
}

export function removeTenants(context: Context, roles: readonly string[], options: CommonOptions): Promise<number> {
  const client = context.client(options)
  return forEach(context, roles, async (role) => {
    await client.tenants.remove(role, context.signal)
    return role
  })
}

/** Throws `Fault('invalid')` where nothing is to be set, or where a list holds both `none` and something. */
function changeOf(options: SetOptions): TenantChange {
  const { require, image, registry, hostPath, device, cap, seccomp, signed } = options
  const change: { readonly [K in keyof TenantChange]: TenantChange[K] | undefined } = {
    required: listOf('--require', require),
    images: listOf('--image', image),
    registries: listOf('--registry', registry),
    hostPaths: listOf('--host-path', hostPath),
    devices: listOf('--device', device),
    capabilities: listOf('--cap', cap)?.map((text) => parseCapability('--cap', text)),
    seccomp: listOf('--seccomp', seccomp),
    signatures: listOf('--signed', signed)?.map(signatureRule)
  }
  const given = Object.entries(change).filter(([, value]) => value !== undefined)
  if (given.length > 0) return Object.fromEntries(given) as TenantChange
  throw new Fault(
    'invalid',
    `say what to set: --require, --image, --registry, --host-path, --device, --cap, --seccomp or --signed (walls: ${requirableWalls.join(', ')})`
  )
}

function listOf(option: string, texts: readonly string[] | undefined): readonly string[] | undefined {
  if (texts === undefined || !texts.includes('none')) return texts
  if (texts.length === 1) return []
  throw new Fault('invalid', `${option} none stands alone: it allows nothing`)
}

/** `PATTERN=FILE,FILE,any-name`: the files hold public keys, which are looked at before anything is sent. */
function signatureRule(text: string): SignatureRule {
  const at = text.indexOf('=')
  const words = text.slice(at + 1).split(',')
  const files = words.filter((word) => word !== '' && word !== anyName)
  if (at < 1 || files.length === 0)
    throw new Fault('invalid', `--signed is PATTERN=FILE, such as registry.example/*=cosign.pub, not ${JSON.stringify(text)}`)
  return { images: text.slice(0, at), keys: files.map(readKey), anyName: words.includes(anyName) }
}

function readKey(path: string): string {
  try {
    return signingKeyText(readFileSync(path, 'utf8'))
  } catch (e) {
    if (isFault(e)) throw new Fault(e.code, `${path}: ${e.message}`, e.detail, e)
    throw new Fault('invalid', `the key ${path} cannot be read (${errnoOf(e) ?? String(e)})`, { path }, e)
  }
}

function describeRule({ images, keys, anyName: any }: SignatureRule): string {
  const names = keys.map((key) => `sha256:${createHash('sha256').update(key).digest('hex').slice(0, 12)}`)
  return `${images} by ${names.join(' or ')}${any === true ? ', under any name' : ''}`
}

async function tell(context: Context, tenant: Tenant, options: CommonOptions): Promise<number> {
  const facts = [
    ['Role', tenant.role],
    ['Policy of', tenant.from ?? 'nobody: the usual one'],
    ['Required walls', items(tenant.required)],
    ['Images', items(tenant.images)],
    ['Registries', items(tenant.registries)],
    ['Host paths', items(tenant.hostPaths)],
    ['Devices', items(tenant.devices)],
    ['Capabilities', items(tenant.capabilities)],
    ['Seccomp', items(tenant.seccomp)],
    ['Signed images', items(tenant.signatures.map(describeRule))]
  ] as const
  await writeOut(context.streams.stdout, options.json === true ? `${JSON.stringify(tenant, null, 2)}\n` : renderFacts(facts))
  return 0
}

const anyName = 'any-name'
const items = (list: readonly string[]): string => (list.length === 0 ? 'none' : list.join(', '))
