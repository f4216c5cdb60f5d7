import { readFileSync } from 'node:fs'
import type { Environment } from './context.ts'

/** Settings of commands, not of the daemons. */
const ofCommands = ['HEARTH_STATE_DIR', 'HEARTH_ADDR', 'HEARTH_TOKEN', 'HEARTH_TOKEN_FILE']

/** The daemons' settings in `wanted` that differ from those they were started with. */
export const changedSettings = (wanted: Environment, started: Environment): readonly string[] =>
  Object.keys(wanted).filter((name) => name.startsWith('HEARTH_') && !ofCommands.includes(name) && wanted[name] !== started[name])

/** What a process was started with (proc(5), environ). Empty where it has just ended. */
export function environmentOf(pid: number): Environment {
  try {
    const pairs = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0')
    return Object.fromEntries(pairs.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]))
  } catch {
    return {} // its end is told by what is asked next
  }
}
