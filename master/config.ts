import { hostname } from 'node:os'
import { join, resolve } from 'node:path'
import { Fault } from '../base/fault.ts'
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
  /** Absent: this master stays alone. */
  readonly peerListen: ListenAddress | undefined
  /** At a first start: wait to be added to a cluster, and found none. */
  readonly wait: boolean
  /** Where other hosts come in, over TLS. Absent: nowhere. */
  readonly listen: ListenAddress | undefined
  /** Under which other hosts know this one, the best name first. */
  readonly advertise: readonly string[]
  readonly logLevel: string
}

const loopbackNames = ['127.0.0.1', '::1', 'localhost']
const ofHttp = 'must be a loopback address such as 127.0.0.1:7340, or off; other hosts come in over TLS, see --listen'
const ofLinks = 'must be tcp:127.0.0.1:PORT; agents of other hosts come in over TLS, see --listen'
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
    check: (text) => (parseLinkAddress(text) !== undefined ? undefined : ofLinks)
  },
  {
    flag: 'peer-listen',
    env: 'HEARTH_PEER_LISTEN',
    fallback: '',
    help: 'where the other masters reach this one; without it this master stays alone',
    check: (text) => (parseLinkAddress(text) !== undefined ? undefined : ofLinks)
  },
  {
    flag: 'wait',
    env: 'HEARTH_WAIT',
    fallback: 'no',
    help: 'yes: at its first start this master founds no cluster, but waits for hearth raft add',
    check: (text) => (text === 'yes' || text === 'no' ? undefined : 'must be yes or no')
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
  const wait = of('wait') === 'yes'
  if (wait && of('peer-listen') === '') {
    throw new Fault('invalid', '--wait (HEARTH_WAIT, wait) needs --peer-listen, where the cluster reaches this master')
  }
  return Object.freeze({
    stateDir,
    runDir: join(stateDir, 'run'),
    http: of('http') === 'off' ? undefined : parseAddress(of('http')),
    agentListen: parseLinkAddress(of('agent-listen')),
    peerListen: parseLinkAddress(of('peer-listen')),
    wait,
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

export const linkAddress = ({ host, port }: ListenAddress): string => `tcp:${host.includes(':') ? `[${host}]` : host}:${port}`

const parseLinkAddress = (text: string): ListenAddress | undefined =>
  text.startsWith('tcp:') ? parseAddress(text.slice('tcp:'.length)) : undefined
