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
  readonly zswap?: string
  readonly numa?: string
  readonly memoryNodes?: string
  readonly rdma?: readonly string[]
  readonly misc?: readonly string[]
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
    ...given('hugePages', options.hugePages, (texts) => texts.map(parseHugePages)),
    ...given('zswapBytes', options.zswap, (text) => (text === 'none' ? -1 : parseBytes('--zswap', text))),
    ...given('numaNodes', options.numa, (text) => text),
    ...given('memoryNodes', options.memoryNodes, (text) => text),
    ...given('rdma', options.rdma, (texts) => texts.map(parseRdma)),
    ...given('misc', options.misc, (texts) => texts.map(parseMisc))
  }
  return Object.keys(limits).length === 0 ? undefined : limits
}

const given = <K extends keyof LimitsRequest, V>(
  key: K,
  value: V | undefined,
  how: (value: V) => LimitsRequest[K]
): Partial<LimitsRequest> => (value === undefined ? {} : { [key]: how(value) })

const amount = (text: string): number => parseBytes('--io', text)
const count = (text: string): number => parseCount('--io', text)
const ioWords = {
  read: ['readBytesPerSecond', amount],
  write: ['writeBytesPerSecond', amount],
  reads: ['readsPerSecond', count],
  writes: ['writesPerSecond', count],
  latency: ['latencyUs', (text: string) => parseDuration('--io', text) * 1000]
} as const

type Io = NonNullable<LimitsRequest['io']>[number]

/** `/data:read=10m,write=5m,reads=100,writes=50,latency=10ms`: bytes and operations a second, and how long it may wait. */
function parseIo(text: string): Io {
  const form = '--io must be PATH:read=10m,write=5m,reads=100,writes=100,latency=10ms or some of it'
  const { name, values } = named(text, ioWords, form)
  return { path: name, ...values }
}

const rdmaWords = {
  handles: ['handles', (text: string) => parseCount('--rdma', text)],
  objects: ['objects', (text: string) => parseCount('--rdma', text)]
} as const

/** `mlx4_0:handles=2,objects=2000` */
function parseRdma(text: string): NonNullable<LimitsRequest['rdma']>[number] {
  const { name, values } = named(text, rdmaWords, '--rdma must be DEVICE:handles=2,objects=2000 or one of them')
  return { device: name, ...values }
}

type Words = Readonly<Record<string, readonly [key: string, parse: (text: string) => number]>>

/** `NAME:word=value,word=value`; the name may hold colons. Throws `Fault('invalid')` with the form that is meant. */
function named(text: string, words: Words, form: string): { readonly name: string; readonly values: Record<string, number> } {
  const at = text.lastIndexOf(':')
  const wrong = new Fault('invalid', `${form}, not ${JSON.stringify(text)}`)
  if (at <= 0) throw wrong
  const pairs = text
    .slice(at + 1)
    .split(',')
    .map((pair) => {
      const [word = '', value = ''] = pair.split('=')
      const [key, parse] = Object.hasOwn(words, word) ? (words[word] ?? []) : []
      if (key === undefined || parse === undefined) throw wrong
      return [key, parse(value)] as const
    })
  return { name: text.slice(0, at), values: Object.fromEntries(pairs) }
}

/** `sev=10` */
function parseMisc(text: string): NonNullable<LimitsRequest['misc']>[number] {
  const [name = '', max, ...more] = text.split('=')
  if (name === '' || max === undefined || more.length > 0)
    throw new Fault('invalid', `--misc must be NAME=MAX such as sev=10, not ${JSON.stringify(text)}`)
  return { name, max: parseCount('--misc', max) }
}

/** `2m:64m`: of pages of 2 MiB at most 64 MiB. */
function parseHugePages(text: string): NonNullable<LimitsRequest['hugePages']>[number] {
  const [page = '', most = '', ...more] = text.split(':')
  if (more.length > 0 || most === '')
    throw new Fault('invalid', `--huge-pages must be SIZE:LIMIT such as 2m:64m, not ${JSON.stringify(text)}`)
  return { pageBytes: parseBytes('--huge-pages', page), maxBytes: parseBytes('--huge-pages', most) }
}
