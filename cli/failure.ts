import { errnoOf, Fault, faultTable, isFault } from '../base/fault.ts'
import { OutputClosed } from './context.ts'

/** sysexits' EX_USAGE. */
export const usageExit = 64
/** 128 + SIGPIPE, with which a program ends that does not catch it. */
export const outputClosedExit = 141
/** EX_IOERR: what this host refused, such as a file that may not be read. */
const systemExit = 74
/** A bug of ours: EX_SOFTWARE. */
const brokenExit = 70

/** What a failed command says and with which code it ends; one sentence, and the stack only for bugs of ours. */
export function describeFailure(e: unknown): { readonly text: string; readonly code: number } {
  if (isFault(e)) return { text: `hearth: ${e.message}\n`, code: faultTable[e.code].exitCode }
  if (e instanceof OutputClosed) return { text: '', code: outputClosedExit }
  if (e instanceof Error && e.name === 'AbortError') return { text: '', code: 130 }
  if (isSystemError(e)) return { text: `hearth: this host refused: ${e.message}\n`, code: systemExit }
  const text = e instanceof Error ? (e.stack ?? e.message) : String(e)
  return { text: `hearth: this is a bug in hearth, please report it: ${text}\n`, code: brokenExit }
}

/** Node tells those of system calls by their name and their errno: `EACCES: permission denied, open '/x'`. */
const isSystemError = (e: unknown): e is Error => e instanceof Error && errnoOf(e) !== undefined && 'syscall' in e

export const usage = (message: string): Fault => new Fault('invalid', message)
