import { Fault } from '../base/fault.ts'
import type { ProbeRequest, TaskRequest } from '../sdk/operator-messages.ts'
import { parseCount, parseDuration } from './amounts.ts'

/** Options of `hearth task run` about attempts: when another one follows, and how it is told whether one is well. */
export interface AttemptOptions {
  readonly restart?: string
  readonly restartDelay?: string
  readonly lease?: string
  readonly healthCmd?: string
  readonly healthHttp?: string
  readonly healthTcp?: string
  readonly readyCmd?: string
  readonly readyHttp?: string
  readonly readyTcp?: string
  readonly startCmd?: string
  readonly startHttp?: string
  readonly startTcp?: string
  readonly startRetries?: string
  readonly healthInterval?: string
  readonly healthTimeout?: string
  readonly healthRetries?: string
  readonly healthStartPeriod?: string
}

/** As docker reads it: `on-failure:3` restarts three times, so that there are four attempts. */
export function parseRestart(options: AttemptOptions): TaskRequest['restart'] {
  const { restart, restartDelay } = options
  if (restart === undefined) {
    if (restartDelay !== undefined) throw new Fault('invalid', '--restart-delay needs --restart on-failure or --restart always')
    return undefined
  }
  const [, policy = '', count] = /^(never|no|always|on-failure)(?::(\d{1,6}))?$/.exec(restart) ?? []
  if (policy === '' || (count !== undefined && policy !== 'on-failure')) {
    throw new Fault('invalid', `--restart must be never, on-failure, on-failure:3 or always, not ${JSON.stringify(restart)}`)
  }
  if (policy === 'never' || policy === 'no') {
    if (restartDelay !== undefined) throw new Fault('invalid', '--restart-delay needs --restart on-failure or --restart always')
    return { policy: 'never' }
  }
  return {
    policy: policy as 'always' | 'on-failure',
    ...(count === undefined ? {} : { maxAttempts: Number(count) + 1 }),
    ...(restartDelay === undefined ? {} : { backoffMs: positive('--restart-delay', restartDelay) })
  }
}

/** The master tells which lengths can be held. */
export const parseLease = ({ lease }: AttemptOptions): TaskRequest['lease'] =>
  lease === undefined ? undefined : { lengthMs: positive('--lease', lease) }

export function parseProbes(options: AttemptOptions): TaskRequest['probes'] {
  const liveness = checkOf('--health', [options.healthCmd, options.healthHttp, options.healthTcp])
  const readiness = checkOf('--ready', [options.readyCmd, options.readyHttp, options.readyTcp])
  const startup = checkOf('--start', [options.startCmd, options.startHttp, options.startTcp])
  const { healthInterval, healthTimeout, healthRetries, healthStartPeriod, startRetries } = options
  if (startRetries !== undefined && startup === undefined) {
    throw new Fault('invalid', 'there is no check that --start-retries is about; add --start-cmd, --start-http or --start-tcp')
  }
  if (liveness === undefined && readiness === undefined && startup === undefined) {
    if ([healthInterval, healthTimeout, healthRetries, healthStartPeriod].every((o) => o === undefined)) return undefined
    throw new Fault(
      'invalid',
      'there is no check that this is about; add --health-cmd, --health-http, --health-tcp, --ready-… or --start-…'
    )
  }
  const times = {
    ...(healthInterval === undefined ? {} : { intervalMs: positive('--health-interval', healthInterval) }),
    ...(healthTimeout === undefined ? {} : { timeoutMs: positive('--health-timeout', healthTimeout) }),
    ...(healthStartPeriod === undefined ? {} : { graceMs: parseDuration('--health-start-period', healthStartPeriod) })
  }
  const steady = { ...times, ...(healthRetries === undefined ? {} : { failures: retries('--health-retries', healthRetries) }) }
  const starting = { ...times, ...(startRetries === undefined ? {} : { failures: retries('--start-retries', startRetries) }) }
  return {
    ...(startup === undefined ? {} : { startup: { ...startup, ...starting } }),
    ...(liveness === undefined ? {} : { liveness: { ...liveness, ...steady } }),
    ...(readiness === undefined ? {} : { readiness: { ...readiness, ...steady } })
  }
}

type Given = readonly [command: string | undefined, http: string | undefined, tcp: string | undefined]

function checkOf(option: string, [command, http, tcp]: Given): ProbeRequest | undefined {
  const given = [command, http, tcp].filter((one) => one !== undefined)
  if (given.length > 1) throw new Fault('invalid', `of ${option}-cmd, ${option}-http and ${option}-tcp only one can be given`)
  if (command !== undefined) {
    if (command.trim() === '') throw new Fault('invalid', `${option}-cmd must be a shell command, such as 'test -f /tmp/up'`)
    return { command: ['sh', '-c', command] }
  }
  if (tcp !== undefined) return { tcp: { port: parsePort(`${option}-tcp`, tcp) } }
  if (http === undefined) return undefined
  const at = http.indexOf('/')
  const port = at < 0 ? http : http.slice(0, at)
  return { http: { port: parsePort(`${option}-http`, port), path: at < 0 ? '/' : http.slice(at) } }
}

function parsePort(option: string, text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0
  if (port >= 1 && port <= 65_535) return port
  const example = option.endsWith('http') ? '8080/health' : '8080'
  throw new Fault('invalid', `${option} must be a port of the host such as ${example}, not ${JSON.stringify(text)}`)
}

function retries(option: string, text: string): number {
  const count = parseCount(option, text)
  if (count < 1 || count > mostRetries) throw new Fault('invalid', `${option} must be from 1 to ${mostRetries}, not ${count}`)
  return count
}

const mostRetries = 1_000
const longestMs = 24 * 3_600_000

function positive(option: string, text: string): number {
  const ms = parseDuration(option, text)
  if (ms > longestMs) throw new Fault('invalid', `${option} may be at most 1d, not ${JSON.stringify(text)}`)
  if (ms > 0) return ms
  throw new Fault('invalid', `${option} must be longer than nothing`)
}
