import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { Fault } from '../base/fault.ts'

export interface ListenAddress {
  readonly host: string
  readonly port: number
}

export interface MasterConfig {
  readonly stateDir: string
  readonly runDir: string
  /** Absent: no loopback listener. */
  readonly http: ListenAddress | undefined
  readonly agentListen: ListenAddress | undefined
  readonly logLevel: string
}

interface Setting {
  readonly flag: string
  readonly env: string
  readonly fallback: string
  readonly help: string
  /** What is wrong with the text, or undefined. */
  readonly check: (text: string) => string | undefined
}

const levels = ['debug', 'info', 'warn', 'error']
const loopbackNames = ['127.0.0.1', '::1', 'localhost']
const ofHttp = 'must be an address of this host such as 127.0.0.1:7340, or off'
const ofAgents = 'must be tcp:127.0.0.1:PORT'

/** Flag over environment over default, for every setting of the master. */
export const masterSettings: readonly Setting[] = [
  {
    flag: 'state-dir',
    env: 'HEARTH_STATE_DIR',
    fallback: '/var/lib/hearth',
    help: 'where everything lies',
    check: (text) => (text.startsWith('/') ? undefined : 'must be an absolute path')
  },
  {
    flag: 'http',
    env: 'HEARTH_HTTP',
    fallback: '127.0.0.1:7340',
    help: 'where people reach the API besides the unix socket; port 0 takes any; off: nowhere',
    check: (text) => (text === 'off' || parseAddress(text) !== undefined ? undefined : ofHttp)
  },
  {
    flag: 'agent-listen',
    env: 'HEARTH_AGENT_LISTEN',
    fallback: '',
    help: 'where agents reach the master besides the unix socket',
    check: (text) => (text === '' || parseAgentAddress(text) !== undefined ? undefined : ofAgents)
  },
  {
    flag: 'log-level',
    env: 'HEARTH_LOG_LEVEL',
    fallback: 'info',
    help: levels.join(', '),
    check: (text) => (levels.includes(text) ? undefined : `must be one of ${levels.join(', ')}`)
  }
]

type Env = Readonly<Record<string, string | undefined>>

/** The only reader of the master's environment and arguments. Reports every mistake at once. */
export function readMasterConfig(argv: readonly string[], env: Env): MasterConfig {
  const flags = readFlags(argv)
  const wrong: string[] = []
  const values = new Map<string, string>()
  for (const { flag, env: name, fallback, check } of masterSettings) {
    const text = flags[flag] ?? env[name] ?? fallback
    const complaint = check(text)
    if (complaint !== undefined) wrong.push(`--${flag} (${name}) ${complaint}, not ${JSON.stringify(text)}`)
    values.set(flag, text)
  }
  if (wrong.length > 0) throw new Fault('invalid', wrong.join('; '))
  const of = (flag: string): string => values.get(flag) ?? ''
  const stateDir = resolve(of('state-dir'))
  return Object.freeze({
    stateDir,
    runDir: join(stateDir, 'run'),
    http: of('http') === 'off' ? undefined : parseAddress(of('http')),
    agentListen: parseAgentAddress(of('agent-listen')),
    logLevel: of('log-level')
  })
}

/** Only loopback: until certificates, a token in clear text must not cross a network. */
function parseAddress(text: string): ListenAddress | undefined {
  const [, bracketed, plain, digits = ''] = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text) ?? []
  const host = bracketed ?? plain
  const port = Number(digits)
  if (host === undefined || !loopbackNames.includes(host) || port > 65_535) return undefined
  return { host, port }
}

const parseAgentAddress = (text: string): ListenAddress | undefined =>
  text.startsWith('tcp:') ? parseAddress(text.slice('tcp:'.length)) : undefined

function readFlags(argv: readonly string[]): Readonly<Record<string, string | undefined>> {
  const options = Object.fromEntries(masterSettings.map((s) => [s.flag, { type: 'string' as const }]))
  try {
    const { values } = parseArgs({ args: [...argv], options, strict: true })
    return Object.fromEntries(
      Object.entries(values).map(([flag, value]) => [flag, typeof value === 'string' ? value : undefined])
    )
  } catch (cause) {
    const known = masterSettings.map((s) => `--${s.flag}`).join(' ')
    throw new Fault('invalid', `${(cause as Error).message}; the master knows ${known}`, {}, cause)
  }
}
