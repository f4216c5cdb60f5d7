import { Fault } from '../../base/fault.ts'
import { parseSize } from './frame-input.ts'

/** A program to run inside a container. */
export interface ExecOrder {
  /** The runtime's command line up to and including `exec`. */
  readonly command: readonly string[]
  readonly containerId: string
  readonly bundleDir: string
  readonly pidFile: string
  readonly arguments: readonly string[]
  readonly environment: readonly string[]
  readonly workingDirectory: string
  /** Left out: the container's. */
  readonly user?: ExecUser | undefined
  readonly rows: number
  readonly columns: number
}

interface ExecUser {
  readonly uid: number
  readonly gid: number
  readonly additionalGids: readonly number[]
}

export function parseExecOrder(value: Readonly<Record<string, unknown>>): ExecOrder {
  return {
    command: texts(value, 'command'),
    containerId: text(value, 'containerId'),
    bundleDir: text(value, 'bundleDir'),
    pidFile: text(value, 'pidFile'),
    arguments: texts(value, 'arguments'),
    environment: texts(value, 'environment'),
    workingDirectory: text(value, 'workingDirectory'),
    user: user(value['user']),
    ...parseSize(value)
  }
}

/** The runtime spec's `process` of the container (runtime spec 1.0, "process"), with what this program has of its own. */
export function processOf(
  config: unknown,
  order: Omit<ExecOrder, 'command' | 'containerId' | 'bundleDir' | 'pidFile'>,
  terminal: boolean
): Readonly<Record<string, unknown>> {
  const own = field(config, 'process')
  return {
    ...(typeof own === 'object' && own !== null ? own : {}),
    args: order.arguments,
    env: merged(terminal ? ['TERM=xterm'] : [], field(own, 'env'), order.environment),
    terminal,
    consoleSize: terminal ? { height: order.rows, width: order.columns } : undefined,
    ...(order.workingDirectory === '' ? {} : { cwd: order.workingDirectory }),
    ...(order.user === undefined ? {} : { user: order.user })
  }
}

/** The last value of a name wins. */
function merged(first: readonly string[], own: unknown, more: readonly string[]): string[] {
  const rows = Array.isArray(own) ? own.filter((row): row is string => typeof row === 'string') : []
  const byName = new Map([...first, ...rows, ...more].map((row) => [row.split('=', 1)[0], row]))
  return [...byName.values()]
}

const field = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>)[name] : undefined

function user(value: unknown): ExecUser | undefined {
  if (value === undefined || value === null) return undefined
  const [uid, gid, additionalGids] = [field(value, 'uid'), field(value, 'gid'), field(value, 'additionalGids')]
  const isList = Array.isArray(additionalGids) && additionalGids.every((id) => typeof id === 'number')
  if (typeof uid === 'number' && typeof gid === 'number' && isList) return { uid, gid, additionalGids }
  throw new Fault('invalid', 'an exec order holds user, with uid, gid and additionalGids')
}

function text(value: Readonly<Record<string, unknown>>, name: string): string {
  const found = value[name]
  if (typeof found !== 'string') throw new Fault('invalid', `an exec order holds ${name}, a text`)
  return found
}

function texts(value: Readonly<Record<string, unknown>>, name: string): readonly string[] {
  const found = value[name]
  const isList = Array.isArray(found) && found.every((item) => typeof item === 'string')
  if (!isList) throw new Fault('invalid', `an exec order holds ${name}, a list of texts`)
  return found
}
