import { Fault } from '../../base/fault.ts'
import { parseSize } from '../host/frame-input.ts'

/** MAX_ARG_STRLEN (linux/binfmts.h), the zero byte at its end included. */
const maxTextBytes = 128 * 1024

/** What a client asks to run inside a container. */
export interface ExecWish {
  readonly arguments: readonly string[]
  /** `NAME=value`. */
  readonly environment: readonly string[]
  /** Empty: the container's. */
  readonly workingDirectory: string
  /** `USER[:GROUP]`, each a name or a number; empty: the container's. */
  readonly user: string
  readonly terminal: boolean
  readonly openStdin: boolean
  readonly rows: number
  readonly columns: number
}

/** Reads the open frame of an exec stream. Throws `Fault('invalid')` that names the field. */
export function parseExecWish(open: Readonly<Record<string, unknown>>): ExecWish {
  const args = open['arguments']
  if (!Array.isArray(args) || args.length === 0) throw new Fault('invalid', 'arguments: the program and its arguments, as texts')
  const workingDirectory = text(open, 'workingDirectory')
  if (workingDirectory !== '' && !workingDirectory.startsWith('/')) {
    throw new Fault('invalid', `workingDirectory is an absolute path in the container, not ${workingDirectory}`)
  }
  return {
    arguments: args.map((a, i) => plain(a, `arguments[${i}]`)),
    environment: environment(open['environment']),
    workingDirectory,
    user: text(open, 'user'),
    terminal: flag(open, 'terminal'),
    openStdin: flag(open, 'openStdin'),
    ...parseSize(open)
  }
}

/** Either `NAME=value` or `{name, value}`, as in a TaskRequest. */
function environment(value: unknown): string[] {
  if (value === undefined || value === null) return []
  if (!Array.isArray(value)) throw new Fault('invalid', 'environment is a list of {name, value}')
  return value.map((row: unknown, i) => {
    const where = `environment[${i}]`
    if (typeof row === 'string') return variable(plain(row, where), where)
    if (typeof row !== 'object' || row === null || !('name' in row)) throw new Fault('invalid', `${where} is {name, value}`)
    const name = plain(row.name, `${where}.name`)
    if (name.includes('=')) throw new Fault('invalid', `${where}.name holds no =`)
    return variable(`${name}=${'value' in row ? plain(row.value, `${where}.value`) : ''}`, where)
  })
}

function variable(row: string, where: string): string {
  if (row.indexOf('=') < 1) throw new Fault('invalid', `${where} has no name`)
  return row
}

function plain(value: unknown, where: string): string {
  if (typeof value !== 'string') throw new Fault('invalid', `${where} is a text`)
  if (value.includes('\0')) throw new Fault('invalid', `${where} holds a zero byte, which no program can get`)
  if (Buffer.byteLength(value) >= maxTextBytes) throw new Fault('invalid', `${where} is longer than the kernel takes`)
  return value
}

function text(open: Readonly<Record<string, unknown>>, name: string): string {
  const value = open[name]
  return value === undefined || value === null ? '' : plain(value, name)
}

function flag(open: Readonly<Record<string, unknown>>, name: string): boolean {
  const value = open[name]
  if (value === undefined || value === null) return false
  if (typeof value !== 'boolean') throw new Fault('invalid', `${name} is true or false`)
  return value
}
