import { Fault } from '../base/fault.ts'
import type { LimitsRequest } from '../sdk/operator-messages.ts'
import { parseBytes, parseCount, parseDuration } from './amounts.ts'

/** The options of limits, the same for `task run` and `task update`. */
export interface LimitOptions {
  readonly cpuWeight?: string
  readonly cpuBurst?: string
  readonly cpuIdle?: boolean
  readonly exclusiveCores?: string
  readonly memoryMin?: string
  readonly memoryLow?: string
  readonly memoryHigh?: string
  readonly swap?: string
  readonly oom?: 'process' | 'task'
  readonly pids?: string
  readonly ioWeight?: string
  readonly io?: readonly string[]
  readonly hugePages?: readonly string[]
}

/** Undefined where none is given. Throws `Fault('invalid')` with the first mistake. */
export function parseLimits(options: LimitOptions): LimitsRequest | undefined {
  const limits: LimitsRequest = {
    ...given('cpuWeight', options.cpuWeight, (text) => parseCount('--cpu-weight', text)),
    ...given('cpuBurstUs', options.cpuBurst, (text) => parseDuration('--cpu-burst', text) * 1000),
    ...given('cpuIdle', options.cpuIdle, (is) => is),
    ...given('exclusiveCores', options.exclusiveCores, (text) => parseCount('--exclusive-cores', text)),
    ...given('memoryMinBytes', options.memoryMin, (text) => parseBytes('--memory-min', text)),
    ...given('memoryLowBytes', options.memoryLow, (text) => parseBytes('--memory-low', text)),
    ...given('memoryHighBytes', options.memoryHigh, (text) => parseBytes('--memory-high', text)),
    ...given('swapBytes', options.swap, (text) => parseBytes('--swap', text)),
    ...given('oomPolicy', options.oom, (policy) => policy),
    ...given('pidsMax', options.pids, (text) => parseCount('--pids', text)),
    ...given('ioWeight', options.ioWeight, (text) => parseCount('--io-weight', text)),
    ...given('io', options.io, (texts) => texts.map(parseIo)),
    ...given('hugePages', options.hugePages, (texts) => texts.map(parseHugePages))
  }
  return Object.keys(limits).length === 0 ? undefined : limits
}

const given = <K extends keyof LimitsRequest, V>(
  key: K,
  value: V | undefined,
  how: (value: V) => LimitsRequest[K]
): Pick<LimitsRequest, K> | Record<string, never> =>
  value === undefined ? {} : ({ [key]: how(value) } as Pick<LimitsRequest, K>)

const rates = {
  read: 'readBytesPerSecond',
  write: 'writeBytesPerSecond',
  reads: 'readsPerSecond',
  writes: 'writesPerSecond'
} as const

type Io = NonNullable<LimitsRequest['io']>[number]

/** `/data:read=10m,write=5m,reads=100,writes=50`: bytes and operations a second. */
function parseIo(text: string): Io {
  const at = text.lastIndexOf(':')
  const path = text.slice(0, Math.max(0, at))
  const pairs = text.slice(at + 1).split(',')
  const wrong = new Fault(
    'invalid',
    `--io must be PATH:read=10m,write=5m,reads=100,writes=100 or some of it, not ${JSON.stringify(text)}`
  )
  if (path === '') throw wrong
  const given = pairs.map((pair) => {
    const [name = '', value = ''] = pair.split('=')
    const key = Object.hasOwn(rates, name) ? rates[name as keyof typeof rates] : undefined
    if (key === undefined) throw wrong
    return [key, name === 'read' || name === 'write' ? parseBytes('--io', value) : parseCount('--io', value)] as const
  })
  return { path, ...Object.fromEntries(given) }
}

/** `2m:64m`: of pages of 2 MiB at most 64 MiB. */
function parseHugePages(text: string): NonNullable<LimitsRequest['hugePages']>[number] {
  const [page = '', most = '', ...more] = text.split(':')
  if (more.length > 0 || most === '')
    throw new Fault('invalid', `--huge-pages must be SIZE:LIMIT such as 2m:64m, not ${JSON.stringify(text)}`)
  return { pageBytes: parseBytes('--huge-pages', page), maxBytes: parseBytes('--huge-pages', most) }
}
