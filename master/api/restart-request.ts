import { Fault } from '../../base/fault.ts'
import type { Init } from '../../proto/codec.ts'
import type { Probe, ProbePurpose, RestartPolicy } from '../../proto/gen/messages.ts'

/** What a task's request says of its attempts: when another one follows, and how the agent tells whether one is well. */

export interface RestartRequest {
  readonly policy: 'never' | 'on-failure' | 'always'
  readonly maxAttempts?: number
  readonly backoffMs?: number
  readonly maxBackoffMs?: number
  readonly resetAfterMs?: number
}

interface ProbeRequest {
  readonly http?: { readonly port: number; readonly path?: string }
  readonly tcp?: { readonly port: number }
  readonly command?: readonly string[]
  readonly graceMs?: number
  readonly intervalMs?: number
  readonly timeoutMs?: number
  readonly successes?: number
  readonly failures?: number
}

export type ProbesRequest = { readonly [K in 'startup' | 'readiness' | 'liveness']?: ProbeRequest }

const modes = { never: 'never', 'on-failure': 'on_failure', always: 'always' } as const

export function restartOf(request: RestartRequest | undefined): Init<RestartPolicy> | undefined {
  if (request === undefined) return undefined
  const { policy, ...numbers } = request
  if (policy === 'never' && Object.keys(numbers).length > 0) {
    throw new Fault('invalid', 'restart: never takes no numbers; choose on-failure or always, or leave them out')
  }
  const { backoffMs, maxBackoffMs } = request
  if (backoffMs !== undefined && maxBackoffMs !== undefined && maxBackoffMs < backoffMs) {
    throw new Fault('invalid', `restart: maxBackoffMs (${maxBackoffMs}) must be at least backoffMs (${backoffMs})`)
  }
  return { mode: modes[policy], ...numbers }
}

/** Throws `Fault('invalid')` for a probe that asks for nothing, for two things, or for what the task's network does not have. */
export function probesOf(request: ProbesRequest | undefined, network: string | undefined): readonly Init<Probe>[] | undefined {
  if (request === undefined) return undefined
  return (['startup', 'readiness', 'liveness'] as const).flatMap((purpose) => {
    const probe = request[purpose]
    return probe === undefined ? [] : [probeOf(purpose, probe, network)]
  })
}

function probeOf(purpose: ProbePurpose, request: ProbeRequest, network: string | undefined): Init<Probe> {
  const { http, tcp, command, ...numbers } = request
  const kinds = Object.entries({ http, tcp, command }).flatMap(([name, value]) => (value === undefined ? [] : [name]))
  if (kinds.length !== 1) {
    const has = kinds.length === 0 ? 'none' : kinds.join(' and ')
    throw new Fault('invalid', `the ${purpose} probe must have exactly one of http, tcp and command, and has ${has}`)
  }
  if (command === undefined && network === 'none') {
    throw new Fault('invalid', `a task without a network has no port to ask: give its ${purpose} probe a command`)
  }
  return {
    purpose,
    ...(http === undefined ? {} : { http: { port: http.port, path: http.path ?? '/' } }),
    ...(tcp === undefined ? {} : { tcp }),
    ...(command === undefined ? {} : { command: { arguments: command } }),
    ...numbers
  }
}
