import { Fault } from '../../base/fault.ts'
import { parseSize } from './frame-input.ts'

/** What the agent tells the terminal program to run. */
export interface ExecOrder {
  /** The runtime's command line up to and including `exec`. */
  readonly command: readonly string[]
  readonly containerId: string
  readonly bundleDir: string
  readonly pidFile: string
  readonly arguments: readonly string[]
  readonly environment: readonly string[]
  readonly workingDirectory: string
  readonly user: string
  readonly rows: number
  readonly columns: number
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
    user: text(value, 'user'),
    ...parseSize(value)
  }
}

/** The runtime spec's `process` of the container (runtime spec 1.0, "process"), with what this program has of its own. */
export function processOf(config: unknown, order: ExecOrder): Readonly<Record<string, unknown>> {
  const own = field(config, 'process')
  const [uid, gid] = order.user.split(':').map(Number)
  return {
    ...(typeof own === 'object' && own !== null ? own : {}),
    args: order.arguments,
    env: merged(field(own, 'env'), order.environment),
    terminal: true,
    consoleSize: { height: order.rows, width: order.columns },
    ...(order.workingDirectory === '' ? {} : { cwd: order.workingDirectory }),
    ...(order.user === '' ? {} : { user: { uid, gid: gid ?? 0 } })
  }
}

/** The last value of a name wins; a terminal has a type. */
function merged(own: unknown, more: readonly string[]): string[] {
  const rows = Array.isArray(own) ? own.filter((row): row is string => typeof row === 'string') : []
  const byName = new Map(['TERM=xterm', ...rows, ...more].map((row) => [row.split('=', 1)[0], row]))
  return [...byName.values()]
}

const field = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>)[name] : undefined

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
