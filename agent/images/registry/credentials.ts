import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { errnoOf, Fault } from '../../../base/fault.ts'
import { dockerHub } from '../../../proto/image-name.ts'

/** What opens a registry: a name and a password, or a token that buys others. */
export type Credentials = { readonly username: string; readonly password: string } | { readonly identityToken: string }

const hubKey = 'index.docker.io'
const helperMs = 15_000
const maxHelperBytes = 64 * 1024

interface DockerConfig {
  readonly auths?: Readonly<Record<string, AuthRow>>
  readonly credHelpers?: Readonly<Record<string, string>>
  readonly credsStore?: string
}

interface AuthRow {
  readonly auth?: string
  readonly username?: string
  readonly password?: string
  readonly identitytoken?: string
}

/**
 * The credentials that docker's config.json has for a registry: a helper for this host first, then the file's own row, then the
 * helper for all. Undefined where it has none. Throws `Fault('denied')` for a file that cannot be read or a helper that fails.
 */
export async function credentialsOf(path: string, registry: string): Promise<Credentials | undefined> {
  const config = readConfig(path)
  const hosts = registry === dockerHub ? [hubKey, dockerHub, 'registry-1.docker.io'] : [registry]
  const helper = rowFor(config.credHelpers, hosts)
  if (helper !== undefined) return askHelper(helper, hosts[0] === hubKey ? `https://${hubKey}/v1/` : registry)
  const row = rowFor(config.auths, hosts)
  const own = row === undefined ? undefined : credentialsIn(row, path)
  if (own !== undefined) return own
  if (config.credsStore === undefined || config.credsStore === '') return undefined
  return askHelper(config.credsStore, hosts[0] === hubKey ? `https://${hubKey}/v1/` : registry)
}

function readConfig(path: string): DockerConfig {
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'))
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value
  } catch (e) {
    if (errnoOf(e) === 'ENOENT' || errnoOf(e) === 'ENOTDIR') return {}
    const why = e instanceof SyntaxError ? 'is not JSON' : `cannot be read (${errnoOf(e) ?? String(e)})`
    throw new Fault('denied', `the credentials for registries in ${path} ${why}: write it anew with docker login`, {}, e)
  }
  throw new Fault('denied', `the credentials for registries in ${path} are no JSON object: write it anew with docker login`)
}

/** Keys are hosts, or addresses from the time of docker's first registry. */
function rowFor<T>(rows: Readonly<Record<string, T>> | undefined, hosts: readonly string[]): T | undefined {
  for (const [key, value] of Object.entries(rows ?? {})) {
    const host =
      key
        .replace(/^https?:\/\//, '')
        .split('/', 1)[0]
        ?.toLowerCase() ?? ''
    if (hosts.includes(host)) return value
  }
  return undefined
}

function credentialsIn(row: AuthRow, path: string): Credentials | undefined {
  if (typeof row.identitytoken === 'string' && row.identitytoken !== '') return { identityToken: row.identitytoken }
  if (typeof row.username === 'string' && typeof row.password === 'string' && row.username !== '')
    return { username: row.username, password: row.password }
  if (typeof row.auth !== 'string' || row.auth === '') return undefined
  const text = Buffer.from(row.auth, 'base64').toString('utf8').replace(/\0+$/, '')
  const colon = text.indexOf(':')
  if (colon < 1) throw new Fault('denied', `a row of ${path} holds no name and password: write it anew with docker login`)
  return { username: text.slice(0, colon), password: text.slice(colon + 1) }
}

/** docker-credential-helpers: `docker-credential-NAME get`, the address on its input, JSON on its output. */
async function askHelper(name: string, address: string): Promise<Credentials | undefined> {
  if (!/^[A-Za-z0-9._-]+$/.test(name))
    throw new Fault('denied', `${JSON.stringify(name.slice(0, 40))} is no name of a credential helper`)
  const program = `docker-credential-${name}`
  const { code, said } = await run(program, address)
  if (/credentials not found/i.test(said)) return undefined
  if (code !== 0)
    throw new Fault('denied', `${program} has no credentials for ${address}: ${said.trim().split('\n')[0]?.slice(0, 200) ?? ''}`)
  const answer = parsed(said)
  const username = answer['Username']
  const password = answer['Secret']
  if (typeof username !== 'string' || typeof password !== 'string' || password === '')
    throw new Fault('denied', `${program} answers without a secret for ${address}`)
  return username === '<token>' ? { identityToken: password } : { username, password }
}

function parsed(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {}
  } catch {
    return {} // the caller says what is missing
  }
}

function run(program: string, input: string): Promise<{ readonly code: number | null; readonly said: string }> {
  return new Promise((resolve, reject) => {
    // spawn's own `timeout` would keep this process for as long where the helper does not exist.
    const signal = AbortSignal.timeout(helperMs)
    const child = spawn(program, ['get'], { stdio: ['pipe', 'pipe', 'ignore'], signal, killSignal: 'SIGKILL' })
    let said = ''
    child.stdout.on('data', (chunk: Buffer) => {
      said = `${said}${chunk.toString('utf8')}`.slice(0, maxHelperBytes)
    })
    child.stdin.on('error', () => undefined) // a helper that reads nothing tells by its answer
    child.once('error', (e) =>
      reject(
        new Fault(
          'denied',
          `${program}, which config.json names for this registry, cannot be run (${errnoOf(e) ?? e.message})`,
          {},
          e
        )
      )
    )
    child.once('close', (code) => resolve({ code, said }))
    child.stdin.end(input)
  })
}
