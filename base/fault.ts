export type FaultCode =
  | 'invalid'
  | 'not-found'
  | 'conflict'
  | 'exhausted'
  | 'unavailable'
  | 'not-leader'
  | 'denied'
  | 'timeout'
  | 'unsupported'
  | 'corrupt'

interface FaultRow {
  readonly httpStatus: number
  readonly exitCode: number
  /** Whether the same request can succeed later without anybody changing it. */
  readonly retryHelps: boolean
}

/** The one table that maps a code to HTTP, to the command line's exit code and to the question of a retry. */
export const faultTable: Readonly<Record<FaultCode, FaultRow>> = {
  invalid: { httpStatus: 400, exitCode: 64, retryHelps: false },
  'not-found': { httpStatus: 404, exitCode: 66, retryHelps: false },
  conflict: { httpStatus: 409, exitCode: 73, retryHelps: false },
  exhausted: { httpStatus: 429, exitCode: 75, retryHelps: true },
  unavailable: { httpStatus: 503, exitCode: 69, retryHelps: true },
  'not-leader': { httpStatus: 421, exitCode: 69, retryHelps: true },
  denied: { httpStatus: 403, exitCode: 77, retryHelps: false },
  timeout: { httpStatus: 504, exitCode: 124, retryHelps: true },
  unsupported: { httpStatus: 501, exitCode: 64, retryHelps: false },
  corrupt: { httpStatus: 500, exitCode: 74, retryHelps: false }
}

export type FaultDetail = Readonly<Record<string, string | number | boolean>>

/** An expected failure that someone outside this process may have to act on. */
export class Fault extends Error {
  override readonly name = 'Fault'
  readonly code: FaultCode
  readonly detail: FaultDetail

  constructor(code: FaultCode, message: string, detail: FaultDetail = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.detail = detail
  }
}

export function isFault(e: unknown, code?: FaultCode): e is Fault {
  return e instanceof Fault && (code === undefined || e.code === code)
}

export const isFaultCode = (text: string): text is FaultCode => Object.hasOwn(faultTable, text)

/** Broken invariant: a bug here, never bad input. Let the process die and restart. */
export function assert(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(`invariant broken: ${what}`)
}

/** The errno name of a failed system call (`ENOENT`), or undefined for any other error. */
export function errnoOf(e: unknown): string | undefined {
  return e instanceof Error && 'code' in e && typeof e.code === 'string' ? e.code : undefined
}
