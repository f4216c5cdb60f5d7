import { type Check, rowsOf } from '../verdict.ts'
import { showSpan } from './words.ts'

export interface CertificateFacts {
  readonly path: string
  /** When it begins and ends, in ms since 1970, or why it cannot be read. */
  readonly validity: { readonly fromMs: number; readonly untilMs: number } | { readonly failure: string }
}

const soonMs = 14 * 24 * 3_600_000

export function judgeCertificates(certificates: readonly CertificateFacts[], wallMs: number): readonly Check[] {
  if (certificates.length === 0) {
    return [rowsOf('certificates').ok('this node belongs to the master of its own host and needs none')]
  }
  return certificates.map(({ path, validity }) => {
    const row = rowsOf('certificates', path)
    const renew =
      'it renews itself while a master answers: see the agent’s log; once it has ended, hearth agent join with a new token'
    if ('failure' in validity) return row.failure(validity.failure, 'join again with a token: hearth agent join')
    const { fromMs, untilMs } = validity
    if (wallMs < fromMs)
      return row.failure(`not valid before ${day(fromMs)}`, 'see whether the clock is right: hearth node health')
    if (wallMs >= untilMs) return row.failure(`expired ${showSpan(wallMs - untilMs)} ago`, renew)
    const reason = `valid until ${day(untilMs)}`
    return untilMs - wallMs < soonMs ? row.warning(`${reason}, ${showSpan(untilMs - wallMs)} from now`, renew) : row.ok(reason)
  })
}

const day = (ms: number): string => new Date(ms).toISOString().slice(0, 10)
