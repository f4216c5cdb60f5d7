import { completeMessage } from '../../proto/codec.ts'
import type { Probe, TaskDefinition } from '../../proto/gen/messages.ts'

/** HEALTHCHECK of an image, which docker builds write into its configuration. Times in milliseconds. */
export interface HealthCheck {
  readonly command: readonly string[]
  readonly intervalMs: number
  readonly timeoutMs: number
  readonly graceMs: number
  readonly failures: number
}

const nsPerMs = 1_000_000
const longestMs = 86_400_000
/** Where the image names none (Dockerfile reference, "HEALTHCHECK"). */
const usual = { intervalMs: 30_000, timeoutMs: 30_000, graceMs: 0, failures: 3 }

/** Undefined for an image that has none, has switched off that of its base, or says nothing that makes sense. */
export function parseHealthCheck(value: unknown): HealthCheck | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const { Test: test, Interval, Timeout, StartPeriod, Retries } = value as Readonly<Record<string, unknown>>
  const words: readonly unknown[] = Array.isArray(test) ? test : []
  const command = commandOf(words.filter((word) => typeof word === 'string'))
  if (command === undefined || command.some((word) => word.includes('\0'))) return undefined
  return {
    command,
    intervalMs: milliseconds(Interval, usual.intervalMs),
    timeoutMs: milliseconds(Timeout, usual.timeoutMs),
    graceMs: milliseconds(StartPeriod, usual.graceMs),
    failures: typeof Retries === 'number' && Number.isInteger(Retries) && Retries > 0 ? Math.min(Retries, 1_000) : usual.failures
  }
}

/**
 * What a task is asked for: its own probes, or else what its image says, which tells whether it is ready and ends nothing that its
 * owner did not ask to be ended.
 */
export function probesOf(
  task: Pick<TaskDefinition, 'probes'> | undefined,
  healthCheck: HealthCheck | undefined
): readonly Probe[] {
  const own = task?.probes ?? []
  if (own.length > 0 || healthCheck === undefined) return own
  const { command, ...times } = healthCheck
  return [completeMessage('Probe', { purpose: 'readiness', command: { arguments: [...command] }, successes: 1, ...times })]
}

function commandOf([kind, ...words]: readonly string[]): readonly string[] | undefined {
  if (kind === 'CMD') return words.length > 0 ? words : undefined
  if (kind === 'CMD-SHELL') return words[0] === undefined ? undefined : ['/bin/sh', '-c', words[0]]
  return undefined
}

const milliseconds = (ns: unknown, otherwise: number): number =>
  typeof ns === 'number' && Number.isFinite(ns) && ns > 0 ? Math.min(longestMs, Math.max(1, Math.round(ns / nsPerMs))) : otherwise
