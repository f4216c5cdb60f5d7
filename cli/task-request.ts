import { readFileSync } from 'node:fs'
import { isAbsolute, resolve } from 'node:path'
import { errnoOf, Fault } from '../base/fault.ts'
import { signalName } from '../proto/signal.ts'
import type { TaskRequest } from '../sdk/operator-messages.ts'
import { parseBytes, parseCpus, parseDuration } from './amounts.ts'
import { parseArtifact } from './artifact-option.ts'
import { type AttemptOptions, parseLease, parseProbes, parseRestart } from './attempt-options.ts'
import type { CommonOptions, Environment } from './context.ts'
import { type LimitOptions, parseLimits } from './limit-options.ts'
import { type LogOptions, parseLogBudget } from './log-options.ts'
import { parseNamedDevices, parseWalls, type WallOptions } from './wall-options.ts'

/** The options of `hearth task run` as they come from the command line. */
export interface RunOptions extends CommonOptions, AttemptOptions, LogOptions, LimitOptions, WallOptions {
  readonly interactive?: boolean
  readonly tty?: boolean
  readonly rm?: boolean
  readonly detach?: boolean
  readonly env?: readonly string[]
  readonly envFile?: readonly string[]
  readonly workdir?: string
  readonly user?: string
  readonly volume?: readonly string[]
  readonly label?: readonly string[]
  readonly memory?: string
  readonly cpus?: string
  readonly disk?: string
  readonly name?: string
  readonly network?: 'host' | 'none'
  readonly runtime?: 'runc' | 'crun' | 'docker' | 'oci'
  readonly role?: string
  readonly stopSignal?: string
  readonly stopTimeout?: string
  readonly publish?: readonly string[]
  readonly pull?: 'missing' | 'always' | 'never'
  readonly artifact?: readonly string[]
}

type Variable = TaskRequest['environment'][number]
type Mount = NonNullable<TaskRequest['mounts']>[number]

const defaultStopMs = 10_000
const maxEnvFileBytes = 1024 * 1024

/** Throws `Fault('invalid')` with the first mistake. `env` is the caller's own environment, for `-e NAME`. */
export function buildTaskRequest(image: string, command: readonly string[], options: RunOptions, env: Environment): TaskRequest {
  if (options.publish !== undefined) {
    throw new Fault('invalid', '-p needs an address per container, which comes in a later version; use --network host for now')
  }
  const { tty, interactive, rm } = options
  return {
    image,
    arguments: wholeTexts(withoutSeparator(command)),
    environment: readEnvironment(options, env),
    ...present({
      name: options.name,
      workingDirectory: options.workdir,
      user: options.user,
      network: options.network,
      runtime: options.runtime === 'oci' ? undefined : options.runtime,
      role: options.role,
      pull: options.pull,
      memoryBytes: convert(options.memory, (text) => parseBytes('--memory', text)),
      diskBytes: convert(options.disk, (text) => parseBytes('--disk', text)),
      milliCpu: convert(options.cpus, (text) => parseCpus('--cpus', text)),
      limits: parseLimits(options),
      mounts: convert(options.volume, (texts) => texts.map(parseMount)),
      artifacts: convert(options.artifact, (texts) => texts.map(parseArtifact)),
      labels: convert(options.label, (texts) => Object.fromEntries(texts.map(parseLabel))),
      terminal: tty,
      openStdin: interactive,
      removeWhenDone: rm,
      killPolicy: killPolicy(options),
      logBudget: parseLogBudget(options),
      restart: parseRestart(options),
      probes: parseProbes(options),
      lease: parseLease(options),
      seccomp: options.seccomp,
      devices: parseNamedDevices(options.device),
      walls: parseWalls(options)
    })
  }
}

type Present<T> = { readonly [K in keyof T]?: Exclude<T[K], undefined> }

/** Without the properties that were not given. */
const present = <T extends object>(values: T): Present<T> =>
  Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Present<T>

const convert = <T, R>(value: T | undefined, how: (value: T) => R): R | undefined =>
  value === undefined ? undefined : how(value)

/** `host -- uname -a` and `host uname -a` are the same. */
export const withoutSeparator = (command: readonly string[]): readonly string[] =>
  command[0] === '--' ? command.slice(1) : command

function killPolicy(options: RunOptions): TaskRequest['killPolicy'] {
  if (options.stopSignal === undefined && options.stopTimeout === undefined) return undefined
  const graceMs = options.stopTimeout === undefined ? defaultStopMs : parseDuration('--stop-timeout', options.stopTimeout)
  return { signal: options.stopSignal === undefined ? '' : parseSignal('--stop-signal', options.stopSignal), graceMs }
}

/** `TERM`, `sigterm`, `SIGTERM` and `15` are `SIGTERM`. */
export function parseSignal(option: string, text: string): string {
  const name = signalName(text)
  if (name !== undefined) return name
  throw new Fault('invalid', `${option} must be a signal such as TERM, INT or 9, not ${JSON.stringify(text)}`)
}

/** Later ones win, and -e wins over files, as in docker. */
function readEnvironment(options: RunOptions, env: Environment): readonly Variable[] {
  const fromFiles = (options.envFile ?? []).flatMap((path) => readEnvFile(path, env))
  return uniteVariables([...fromFiles, ...parseVariables('-e', options.env ?? [], env)])
}

export function parseVariables(option: string, texts: readonly string[], env: Environment): readonly Variable[] {
  return texts.flatMap((text) => {
    const at = text.indexOf('=')
    const name = at < 0 ? text : text.slice(0, at)
    if (name === '' || /[\s\0]/.test(name)) {
      throw new Fault('invalid', `${option} must be NAME=VALUE or NAME, not ${JSON.stringify(text)}`)
    }
    const value = at < 0 ? env[name] : text.slice(at + 1)
    if (value === undefined) return []
    if (isBroken(name + value)) throw new Fault('invalid', `${option} ${whole(name)} holds ${brokenText}`)
    return [{ name, value }]
  })
}

const brokenText = 'bytes that are not valid UTF-8; put such data into a file of the image or of a mount'

/** Node turns each such byte of an argument or of the environment into U+FFFD; the program would get something else. */
const isBroken = (text: string): boolean => text.includes('\ufffd')
const whole = (name: string): string => (isBroken(name) ? 'a name' : name)

/** Throws `Fault('invalid')` for an argument that cannot be passed on as it was given. */
export function wholeTexts(command: readonly string[]): readonly string[] {
  const at = command.findIndex(isBroken)
  if (at >= 0) throw new Fault('invalid', `word ${at + 1} of the command holds ${brokenText}`)
  return command
}

export function uniteVariables(variables: readonly Variable[]): readonly Variable[] {
  return [...new Map(variables.map((v) => [v.name, v])).values()]
}

function readEnvFile(path: string, env: Environment): readonly Variable[] {
  const text = decodeEnvFile(path, readBytes(path))
  const lines = text.split(/\r?\n/).map((line) => line.trimStart())
  return parseVariables(
    `--env-file ${path}:`,
    lines.filter((line) => line !== '' && !line.startsWith('#')),
    env
  )
}

function readBytes(path: string): Buffer {
  try {
    return readFileSync(path)
  } catch (e) {
    throw new Fault('not-found', `--env-file: ${path} cannot be read (${errnoOf(e) ?? 'unknown error'})`, { path }, e)
  }
}

function decodeEnvFile(path: string, bytes: Buffer): string {
  if (bytes.length > maxEnvFileBytes) throw new Fault('invalid', `--env-file: ${path} is over ${maxEnvFileBytes} bytes`)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw new Fault('invalid', `--env-file: ${path} is not valid UTF-8`, { path }, cause)
  }
}

/** `SRC:DST` with `:ro` or `:rw`; a source that begins with a dot is taken from the working folder. */
export function parseMount(text: string): Mount {
  const [source = '', target = '', mode = 'rw', ...rest] = text.split(':')
  const wrong = rest.length > 0 || source === '' || !isAbsolute(target) || !['ro', 'rw'].includes(mode)
  if (wrong) throw new Fault('invalid', `-v must be SRC:DST or SRC:DST:ro with DST absolute, not ${JSON.stringify(text)}`)
  const path = source === '.' || source.startsWith('./') || source.startsWith('../') ? resolve(source) : source
  if (!isAbsolute(path)) {
    throw new Fault('invalid', `-v: ${JSON.stringify(source)} is no absolute path; named volumes come in a later version`)
  }
  return { source: path, target, readOnly: mode === 'ro' }
}

function parseLabel(text: string): readonly [string, string] {
  const at = text.indexOf('=')
  const name = at < 0 ? text : text.slice(0, at)
  if (name === '') throw new Fault('invalid', `--label must be NAME=VALUE, not ${JSON.stringify(text)}`)
  return [name, at < 0 ? '' : text.slice(at + 1)]
}
