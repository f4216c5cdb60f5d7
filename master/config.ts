import { join, resolve } from 'node:path'
import { absolutePath, levels, oneOfLevels, readSettings, type Setting } from '../base/settings.ts'

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

const loopbackNames = ['127.0.0.1', '::1', 'localhost']
const ofHttp = 'must be an address of this host such as 127.0.0.1:7340, or off'
const ofAgents = 'must be tcp:127.0.0.1:PORT'

/** Every setting of the master; flag over environment over configuration file over default. */
export const masterSettings: readonly Setting[] = [
  {
    flag: 'state-dir',
    env: 'HEARTH_STATE_DIR',
    fallback: '/var/lib/hearth',
    help: 'where everything lies',
    check: absolutePath
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
    check: (text) => (parseAgentAddress(text) !== undefined ? undefined : ofAgents)
  },
  {
    flag: 'log-level',
    env: 'HEARTH_LOG_LEVEL',
    fallback: 'info',
    help: levels.join(', '),
    check: oneOfLevels
  }
]

type Env = Readonly<Record<string, string | undefined>>

/** The only reader of the master's environment and arguments. Reports every mistake at once. */
export function readMasterConfig(argv: readonly string[], env: Env): MasterConfig {
  const { of } = readSettings({ daemon: 'master', settings: masterSettings }, argv, env)
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
