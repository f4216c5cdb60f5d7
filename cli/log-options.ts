import { Fault } from '../base/fault.ts'
import type { TaskRequest } from '../sdk/operator-messages.ts'
import { parseBytes, parseCount, parseDuration } from './amounts.ts'

/** Options of `hearth task run` about how much of its output is kept. */
export interface LogOptions {
  readonly logSize?: string
  readonly logFiles?: string
  readonly logAge?: string
}

const defaults = { fileBytes: 10 * 1024 * 1024, files: 5 } as const
/** Smaller files would be rotated without end. */
const leastFileBytes = 64 * 1024
/** The one being written, and one that was put away. */
const leastFiles = 2
const mostFiles = 1_000
const leastAgeMs = 1_000

/** Throws `Fault('invalid')` for what the node could not keep to. */
export function parseLogBudget({ logSize, logFiles, logAge }: LogOptions): TaskRequest['logBudget'] {
  if (logSize === undefined && logFiles === undefined && logAge === undefined) return undefined
  const fileBytes = logSize === undefined ? defaults.fileBytes : parseBytes('--log-size', logSize)
  if (fileBytes < leastFileBytes) throw new Fault('invalid', `--log-size must be at least 64k, not ${JSON.stringify(logSize)}`)
  const files = logFiles === undefined ? defaults.files : parseCount('--log-files', logFiles)
  if (files < leastFiles || files > mostFiles) {
    throw new Fault('invalid', `--log-files must be from ${leastFiles} to ${mostFiles}, not ${JSON.stringify(logFiles)}`)
  }
  if (logAge === undefined) return { fileBytes, files }
  const maxAgeMs = parseDuration('--log-age', logAge)
  if (maxAgeMs < leastAgeMs) throw new Fault('invalid', `--log-age must be at least 1s, not ${JSON.stringify(logAge)}`)
  return { fileBytes, files, maxAgeMs }
}
