import { setMaxListeners } from 'node:events'
import { parseArgs } from 'node:util'
import { Fault, isFault } from '../../base/fault.ts'
import { Cleanup } from './cleanup.ts'

/** What benches and campaigns have in common as commands. */

export interface Around {
  readonly cleanup: Cleanup
  /** Aborts with Ctrl-C and with the signals that end a program. */
  readonly signal: AbortSignal
}

/** Resolves with the exit code of `work`, 64 where it was asked wrongly, 69 where it could not be carried out; cleans up in any case. */
export async function runCommand(work: (around: Around) => Promise<number>): Promise<number> {
  const cleanup = new Cleanup()
  const stop = new AbortController()
  setMaxListeners(0, stop.signal) // every wait of every run listens to it
  const interrupt = (): void => stop.abort(new Fault('unavailable', 'stopped by a signal'))
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, interrupt)
  try {
    return await work({ cleanup, signal: stop.signal })
  } catch (e) {
    const cause: unknown = stop.signal.aborted ? stop.signal.reason : e
    if (!isFault(cause)) throw cause
    process.stderr.write(`hearth: ${cause.message}\n`)
    return cause.code === 'invalid' ? 64 : 69
  } finally {
    for (const sentence of await cleanup.run()) process.stderr.write(`hearth: ${sentence}\n`)
  }
}

export interface Words {
  readonly names: readonly string[]
  /** Undefined where the option was not given. */
  text(flag: string): string | undefined
  has(flag: string): boolean
  /** Throws `Fault('invalid')` for what is no whole number of at least `least`. */
  number(flag: string, least: number): number | undefined
}

/** Throws `Fault('invalid')`, with the hint, for an option that is in neither list. */
export function readWords(
  argv: readonly string[],
  options: { readonly texts: readonly string[]; readonly switches: readonly string[] },
  hint: string
): Words {
  const of = (flags: readonly string[], type: 'string' | 'boolean') => flags.map((flag) => [flag, { type }] as const)
  const known = Object.fromEntries([...of(options.texts, 'string'), ...of(options.switches, 'boolean')])
  let parsed: { readonly values: Readonly<Record<string, unknown>>; readonly positionals: readonly string[] }
  try {
    parsed = parseArgs({ args: [...argv], options: known, allowPositionals: true, strict: true })
  } catch (cause) {
    throw new Fault('invalid', `${(cause as Error).message.split(/[.\n]/)[0]}; ${hint}`, {}, cause)
  }
  const { values, positionals } = parsed
  const text = (flag: string): string | undefined => (typeof values[flag] === 'string' ? values[flag] : undefined)
  return {
    names: positionals,
    text,
    has: (flag) => values[flag] === true,
    number(flag, least) {
      const given = text(flag)
      if (given === undefined) return undefined
      const value = Number(given)
      if (Number.isSafeInteger(value) && value >= least) return value
      throw new Fault('invalid', `--${flag} must be a whole number of at least ${least}, not ${JSON.stringify(given)}`)
    }
  }
}
