import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { errnoOf, Fault } from './fault.ts'

/** One setting of a daemon: `--state-dir` on the command line, `stateDir` in the configuration file. */
export interface Setting {
  readonly flag: string
  readonly env: string
  readonly fallback: string
  readonly help: string
  /** What is wrong with the text, or undefined. Never asked about an empty text, which is as good as none. */
  readonly check?: (text: string) => string | undefined
}

export interface SettingsTable {
  /** The daemon's name in complaints. */
  readonly daemon: string
  readonly settings: readonly Setting[]
  /** Flags without a value, on the command line alone. */
  readonly switches?: readonly string[]
}

export interface Settings {
  of(flag: string): string
  isOn(name: string): boolean
}

type Env = Readonly<Record<string, string | undefined>>

/** The file of settings, itself no setting of the file. */
export const configSetting = { flag: 'config', env: 'HEARTH_CONFIG', help: 'JSON file with settings' } as const

export const levels = ['debug', 'info', 'warn', 'error']
export const oneOfLevels = (text: string): string | undefined =>
  levels.includes(text) ? undefined : `must be one of ${levels.join(', ')}`
export const absolutePath = (text: string): string | undefined => (text.startsWith('/') ? undefined : 'must be an absolute path')

/** `stateDir` of `state-dir`. */
export const keyOf = (flag: string): string => flag.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase())

/**
 * Flag over environment over configuration file over default. Throws `Fault('invalid')` with every mistake of all of them at once.
 */
export function readSettings(table: SettingsTable, argv: readonly string[], env: Env): Settings {
  const wrong: string[] = []
  const flags = readFlags(table, argv, wrong)
  const path = textOf(flags, configSetting.flag) || env[configSetting.env] || ''
  const file = path === '' ? new Map<string, string>() : readFile(table, path, wrong)
  const values = new Map<string, string>()
  for (const { flag, env: name, fallback, check } of table.settings) {
    const text = textOf(flags, flag) || env[name] || file.get(flag) || fallback
    const complaint = text === '' ? undefined : check?.(text)
    if (complaint !== undefined) wrong.push(`--${flag} (${name}, ${keyOf(flag)}) ${complaint}, not ${JSON.stringify(text)}`)
    values.set(flag, text)
  }
  if (wrong.length > 0) throw new Fault('invalid', wrong.join('; '))
  return { of: (flag) => values.get(flag) ?? '', isOn: (name) => flags[name] === true }
}

type Flags = Readonly<Record<string, unknown>>

const textOf = (flags: Flags, flag: string): string => {
  const given = flags[flag]
  return typeof given === 'string' ? given : ''
}

function readFlags({ daemon, settings, switches = [] }: SettingsTable, argv: readonly string[], wrong: string[]): Flags {
  const texts = [...settings.map((s) => s.flag), configSetting.flag]
  const options = Object.fromEntries([
    ...texts.map((flag) => [flag, { type: 'string' as const }] as const),
    ...switches.map((flag) => [flag, { type: 'boolean' as const }] as const)
  ])
  try {
    return parseArgs({ args: [...argv], options, strict: true }).values
  } catch (cause) {
    wrong.push(`${(cause as Error).message}; the ${daemon} knows ${texts.map((flag) => `--${flag}`).join(' ')}`)
    return {}
  }
}

function readFile(table: SettingsTable, path: string, wrong: string[]): ReadonlyMap<string, string> {
  const found = new Map<string, string>()
  const flags = new Map(table.settings.map((s) => [keyOf(s.flag), s.flag]))
  for (const [key, value] of Object.entries(parseFile(path, wrong))) {
    const flag = flags.get(key)
    const text = valueText(value)
    if (flag === undefined) wrong.push(`${path}: there is no setting ${JSON.stringify(key)}, only ${[...flags.keys()].join(' ')}`)
    else if (text === undefined) wrong.push(`${path}: ${key} must be text, true, false, a number or a list of texts`)
    else found.set(flag, text)
  }
  return found
}

function parseFile(path: string, wrong: string[]): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'))
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Readonly<Record<string, unknown>>
    wrong.push(`${path}: must hold one JSON object, such as {"logLevel": "info"}`)
  } catch (e) {
    const why = e instanceof SyntaxError ? `is not JSON: ${e.message}` : `cannot be read (${errnoOf(e) ?? String(e)})`
    wrong.push(`${path}: ${why}`)
  }
  return {}
}

function valueText(value: unknown): string | undefined {
  if (typeof value === 'string') return value
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  if (typeof value === 'number') return String(value)
  if (Array.isArray(value) && value.every((part) => typeof part === 'string')) return value.join(',')
  return undefined
}
