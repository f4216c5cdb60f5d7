import { hostname } from 'node:os'
import { join, resolve } from 'node:path'
import { absolutePath, levels, oneOfLevels, readSettings, type Setting } from '../base/settings.ts'
import { defaultPort } from '../identity/places.ts'

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
  /** Where other hosts come in, over TLS. Absent: nowhere. */
  readonly listen: ListenAddress | undefined
  /** Under which other hosts know this one, the best name first. */
  readonly advertise: readonly string[]
  readonly logLevel: string
}

const loopbackNames = ['127.0.0.1', '::1', 'localhost']
const ofHttp = 'must be a loopback address such as 127.0.0.1:7340, or off; other hosts come in over TLS, see --listen'
const ofAgents = 'must be tcp:127.0.0.1:PORT; agents of other hosts come in over TLS, see --listen'
const ofListen = `must be an address of this host such as 0.0.0.0:${defaultPort} or [::]:${defaultPort}, or off`
const hostPattern = /^[0-9A-Za-z][0-9A-Za-z.-]*$|^[0-9a-fA-F:]+$/

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
    flag: 'listen',
    env: 'HEARTH_LISTEN',
    fallback: 'off',
    help: `where agents, masters and people of other hosts come in, over TLS, such as 0.0.0.0:${defaultPort}; off: nowhere`,
    check: (text) => (text === 'off' || parseOpenAddress(text) !== undefined ? undefined : ofListen)
  },
  {
    flag: 'advertise',
    env: 'HEARTH_ADVERTISE',
    fallback: '',
    help: 'names and addresses under which other hosts know this one, separated by commas; default: its host name',
    check: (text) => (text.split(',').every((part) => hostPattern.test(part)) ? undefined : 'must be names or addresses')
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
    listen: of('listen') === 'off' ? undefined : parseOpenAddress(of('listen')),
    advertise: of('advertise') === '' ? [hostname()] : of('advertise').split(','),
    logLevel: of('log-level')
  })
}

/** Only loopback: in clear text nothing crosses a network. */
function parseAddress(text: string): ListenAddress | undefined {
  const address = parseOpenAddress(text)
  return address !== undefined && loopbackNames.includes(address.host) ? address : undefined
}

function parseOpenAddress(text: string): ListenAddress | undefined {
  const [, bracketed, plain, digits = ''] = /^(?:\[([0-9a-fA-F:.]+)\]|([^:\s/[\]]+)):(\d{1,5})$/.exec(text) ?? []
  const host = bracketed ?? plain
  const port = Number(digits)
  return host === undefined || port > 65_535 ? undefined : { host, port }
}

const parseAgentAddress = (text: string): ListenAddress | undefined =>
  text.startsWith('tcp:') ? parseAddress(text.slice('tcp:'.length)) : undefined
