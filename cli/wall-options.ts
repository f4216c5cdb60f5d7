import { Fault } from '../base/fault.ts'
import { capabilityName } from '../proto/linux-capabilities.ts'
import type { TaskRequest, Walls } from '../sdk/operator-messages.ts'
import { parseBytes } from './amounts.ts'

/** Options of `hearth task run` about what separates the task from the node and from others. */
export interface WallOptions {
  readonly capAdd?: readonly string[]
  readonly capDrop?: readonly string[]
  readonly newPrivileges?: boolean
  readonly userNamespace?: boolean
  readonly seccomp?: string
  readonly apparmor?: string
  readonly readOnly?: boolean
  readonly hide?: readonly string[]
  readonly readOnlyPath?: readonly string[]
  readonly ulimit?: readonly string[]
  readonly device?: readonly string[]
  readonly tmp?: string
  readonly shmSize?: string
  readonly sysctl?: readonly string[]
}

/** Undefined where nothing was asked for: the walls are then the usual ones. Throws `Fault('invalid')` with the first mistake. */
export function parseWalls(options: WallOptions): TaskRequest['walls'] {
  const walls: { readonly [K in keyof Walls]?: Walls[K] | undefined } = {
    addCapabilities: options.capAdd?.map((text) => parseCapability('--cap-add', text)),
    dropCapabilities: options.capDrop?.map((text) => parseCapability('--cap-drop', text)),
    newPrivileges: options.newPrivileges,
    userNamespace: options.userNamespace,
    readOnlyRoot: options.readOnly,
    hiddenPaths: options.hide?.map((text) => absolute('--hide', text)),
    readOnlyPaths: options.readOnlyPath?.map((text) => absolute('--read-only-path', text)),
    limits: options.ulimit?.map(parseLimit),
    devices: some(options.device?.filter(isPath).map(parseDevice)),
    tmpBytes: options.tmp === undefined ? undefined : parseBytes('--tmp', options.tmp),
    shmBytes: options.shmSize === undefined ? undefined : parseBytes('--shm-size', options.shmSize),
    settings: options.sysctl === undefined ? undefined : Object.fromEntries(options.sysctl.map(parseSetting)),
    apparmor: options.apparmor
  }
  const given = Object.entries(walls).filter(([, value]) => value !== undefined)
  return given.length === 0 ? undefined : (Object.fromEntries(given) as Partial<Walls>)
}

/** `gpu:2` and `gpu`: how many of the devices that nodes lend out by that name. Paths are no names. */
export function parseNamedDevices(texts: readonly string[] | undefined): TaskRequest['devices'] {
  const names = texts?.filter((text) => !isPath(text)) ?? []
  if (names.length === 0) return undefined
  return Object.fromEntries(
    names.map((text) => {
      const [, name = '', count = '1'] = /^([a-z][a-z0-9_-]*)(?::([1-9]\d{0,2}))?$/.exec(text) ?? []
      if (name !== '') return [name, Number(count)]
      throw new Fault('invalid', `--device must be a path, or a name with a number such as gpu:2, not ${JSON.stringify(text)}`)
    })
  )
}

const isPath = (text: string): boolean => text.startsWith('/')
const some = <T>(list: readonly T[] | undefined): readonly T[] | undefined => (list?.length === 0 ? undefined : list)

export function parseCapability(option: string, text: string): string {
  const name = capabilityName(text)
  if (name !== undefined) return name
  throw new Fault('invalid', `${option} must be a Linux capability such as NET_RAW, or ALL, not ${JSON.stringify(text)}`)
}

function absolute(option: string, text: string): string {
  if (text.startsWith('/') && text !== '/') return text
  throw new Fault('invalid', `${option} must be an absolute path below /, not ${JSON.stringify(text)}`)
}

/** As docker reads it: `nofile=1024` is both limits. */
function parseLimit(text: string): Walls['limits'][number] {
  const [, name = '', soft = '', hard = soft] = /^([a-z]+)=(\d+|unlimited|-1)(?::(\d+|unlimited|-1))?$/.exec(text) ?? []
  const amounts = [soft, hard].map((part) => (part === 'unlimited' ? -1 : Number(part)))
  const [softest = 0, hardest = 0] = amounts
  if (name !== '' && amounts.every(Number.isSafeInteger)) return { name, soft: softest, hard: hardest }
  throw new Fault(
    'invalid',
    `--ulimit must be NAME=SOFT or NAME=SOFT:HARD, such as nofile=4096:8192, not ${JSON.stringify(text)}`
  )
}

function parseDevice(text: string): Walls['devices'][number] {
  const parts = text.split(':')
  const [path = '', second = '', third = ''] = parts
  const [target, access] = second !== '' && !second.startsWith('/') && third === '' ? ['', second] : [second, third]
  const isWrong =
    parts.length > 3 || !path.startsWith('/') || (target !== '' && !target.startsWith('/')) || !/^[rwm]*$/.test(access)
  if (isWrong) {
    const say = '--device must be PATH, PATH:ACCESS or PATH:TARGET:ACCESS with absolute paths and ACCESS out of r, w and m'
    throw new Fault('invalid', `${say}, not ${JSON.stringify(text)}`)
  }
  return { path, ...(target === '' ? {} : { target }), ...(access === '' ? {} : { access }) }
}

function parseSetting(text: string): readonly [string, string] {
  const at = text.indexOf('=')
  if (at > 0) return [text.slice(0, at).trim(), text.slice(at + 1).trim()]
  throw new Fault('invalid', `--sysctl must be NAME=VALUE, such as net.core.somaxconn=1024, not ${JSON.stringify(text)}`)
}
