import { hostname } from 'node:os'
import { join, resolve } from 'node:path'
import { Fault } from '../base/fault.ts'
import { absolutePath, levels, oneOfLevels, readSettings, type Setting } from '../base/settings.ts'
import { defaultPort, placeText } from '../identity/places.ts'

export interface ListenAddress {
  readonly host: string
  readonly port: number
}

/** Where other masters come in: over TLS, or in clear on loopback. */
export interface PeerListen extends ListenAddress {
  readonly isSecure: boolean
}

export interface MasterConfig {
  readonly stateDir: string
  readonly runDir: string
  /** Absent: no loopback listener. */
  readonly http: ListenAddress | undefined
  readonly agentListen: ListenAddress | undefined
  /** Absent: this master stays alone. */
  readonly peerListen: PeerListen | undefined
  /** At a first start: wait to be added to a cluster, and found none. */
  readonly wait: boolean
  /** A master that gives this one its certificate, and the file of the token for it. */
  readonly join: { readonly at: string; readonly tokenFile: string } | undefined
  /** Where other hosts come in, over TLS. Absent: nowhere. */
  readonly listen: ListenAddress | undefined
  /** Under which other hosts know this one, the best name first. */
  readonly advertise: readonly string[]
  /** How long a node may be unreachable before its tasks are given up; 0: for ever. */
  readonly agentGoneAfterMs: number
  /** Every log was lost: tasks are what agents report. */
  readonly rebuildsFromAgents: boolean
  readonly logLevel: string
}

const loopbackNames = ['127.0.0.1', '::1', 'localhost']
const ofHttp = 'must be a loopback address such as 127.0.0.1:7340, or off; other hosts come in over TLS, see --listen'
const ofLinks = 'must be tcp:127.0.0.1:PORT; agents of other hosts come in over TLS, see --listen'
const ofPeers =
  'must be tls:HOST:PORT, under which the other masters reach this one, or tcp:127.0.0.1:PORT for masters of one host'
const ofListen = `must be an address of this host such as 0.0.0.0:${defaultPort} or [::]:${defaultPort}, or off`
const ofGone = 'must be never, or a time from 60s to 8760h in s, m or h, such as 15m'
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
    help: 'where the other masters reach this one, as tls:HOST:PORT; without it this master stays alone',
    check: (text) => (parsePeerAddress(text) !== undefined ? undefined : ofPeers)
  },
  {
    flag: 'wait',
    env: 'HEARTH_WAIT',
    fallback: 'no',
    help: 'yes: at its first start this master founds no cluster, but waits for hearth raft add',
    check: (text) => (text === 'yes' || text === 'no' ? undefined : 'must be yes or no')
  },
  {
    flag: 'join',
    env: 'HEARTH_JOIN',
    fallback: '',
    help: 'a master of the cluster, as HOST:PORT of its --listen, that gives this one a certificate where it has none',
    check: (text) => (hostPattern.test(text) || parseOpenAddress(text) !== undefined ? undefined : 'must be HOST or HOST:PORT')
  },
  {
    flag: 'join-token-file',
    env: 'HEARTH_JOIN_TOKEN_FILE',
    fallback: '',
    help: 'file with a token of hearth cluster token create --role master, for --join',
    check: absolutePath
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
    flag: 'rebuild-from-agents',
    env: 'HEARTH_REBUILD_FROM_AGENTS',
    fallback: 'no',
    help: 'yes, after hearth raft recover --from-agents: tasks that agents report are taken over in place of being ended',
    check: (text) => (text === 'yes' || text === 'no' ? undefined : 'must be yes or no')
  },
  {
    flag: 'agent-gone-after',
    env: 'HEARTH_AGENT_GONE_AFTER',
    fallback: 'never',
    help: 'how long a node may be unreachable before the cluster gives up its tasks, such as 90s, 15m or 24h; never: it waits',
    check: (text) => (goneAfterMs(text) === undefined ? ofGone : undefined)
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
  if ((of('join') === '') !== (of('join-token-file') === '')) {
    throw new Fault(
      'invalid',
      '--join (HEARTH_JOIN, join) and --join-token-file (HEARTH_JOIN_TOKEN_FILE, joinTokenFile) go together'
    )
  }
  return Object.freeze({
    stateDir,
    runDir: join(stateDir, 'run'),
    http: of('http') === 'off' ? undefined : parseAddress(of('http')),
    agentListen: parseLinkAddress(of('agent-listen')),
    peerListen: parsePeerAddress(of('peer-listen')),
    wait,
    join: of('join') === '' ? undefined : { at: of('join'), tokenFile: of('join-token-file') },
    listen: of('listen') === 'off' ? undefined : parseOpenAddress(of('listen')),
    advertise: of('advertise') === '' ? [hostname()] : of('advertise').split(','),
    rebuildsFromAgents: of('rebuild-from-agents') === 'yes',
    agentGoneAfterMs: goneAfterMs(of('agent-gone-after')) ?? 0,
    logLevel: of('log-level')
  })
}

const unitMs: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000 }

/** 0: never. Shorter than a minute would give up nodes that are being restarted. */
function goneAfterMs(text: string): number | undefined {
  if (text === 'never') return 0
  const [, digits = '', unit = ''] = /^(\d{1,8})([smh])$/.exec(text) ?? []
  const ms = Number(digits) * (unitMs[unit] ?? 0)
  return ms >= 60_000 && ms <= 8_760 * 3_600_000 ? ms : undefined
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

/** Where other masters reach this one. */
export const peerAddress = (place: PeerListen): string => `${place.isSecure ? 'tls' : 'tcp'}:${placeText(place)}`

/** Where agents reach this master, for those that know another; empty: nowhere. */
export function agentAddress({
  listen,
  advertise,
  agentListen
}: Pick<MasterConfig, 'listen' | 'advertise' | 'agentListen'>): string {
  const [host] = advertise
  if (listen !== undefined && listen.port !== 0 && host !== undefined) return `tls:${placeText({ host, port: listen.port })}`
  return agentListen === undefined ? '' : `tcp:${placeText(agentListen)}`
}

const anyAddress = ['0.0.0.0', '::']

function parsePeerAddress(text: string): PeerListen | undefined {
  const isSecure = text.startsWith('tls:')
  const place = isSecure ? parseOpenAddress(text.slice('tls:'.length)) : parseLinkAddress(text)
  return place === undefined || anyAddress.includes(place.host) ? undefined : { ...place, isSecure }
}

const parseLinkAddress = (text: string): ListenAddress | undefined =>
  text.startsWith('tcp:') ? parseAddress(text.slice('tcp:'.length)) : undefined
