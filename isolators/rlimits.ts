import { readFile } from 'node:fs/promises'
import { Fault } from '../base/fault.ts'
import type { Isolator } from './isolator.ts'
import type { ProcessLimit } from './walls.ts'

/** Names of setrlimit(2) with their rows in /proc/PID/limits (fs/proc/base.c of the kernel, `lnames`). */
const rows: Readonly<Record<string, string>> = {
  as: 'Max address space',
  core: 'Max core file size',
  cpu: 'Max cpu time',
  data: 'Max data size',
  fsize: 'Max file size',
  locks: 'Max file locks',
  memlock: 'Max locked memory',
  msgqueue: 'Max msgqueue size',
  nice: 'Max nice priority',
  nofile: 'Max open files',
  nproc: 'Max processes',
  rss: 'Max resident set',
  rtprio: 'Max realtime priority',
  rttime: 'Max realtime timeout',
  sigpending: 'Max pending signals',
  stack: 'Max stack size'
}

const usual: readonly ProcessLimit[] = [
  { name: 'nofile', soft: 1024, hard: 1_048_576 },
  { name: 'core', soft: 0, hard: 0 }
]

/** Limits of a process, clamped to what the agent itself may give: without CAP_SYS_RESOURCE raising one fails the launch. */
export function rlimits(limitsFile = '/proc/self/limits'): Isolator {
  let hardLimits: Promise<ReadonlyMap<string, number>> | undefined
  const own = (): Promise<ReadonlyMap<string, number>> => {
    hardLimits ??= readFile(limitsFile, 'utf8').then(parseHardLimits)
    return hardLimits
  }
  return {
    name: 'rlimits',
    capabilities: async () => {
      const files = (await own()).get('Max open files') ?? 0
      return [{ name: 'rlimit.nofile', present: true, detail: `at most ${files} open files a process` }]
    },
    async prepare({ walls }) {
      const most = await own()
      const asked = walls.limits.map((limit) => clamped(limit, most))
      const given = new Set(walls.limits.map(({ name }) => name))
      const others = usual.filter(({ name }) => !given.has(name)).map((limit) => clamped(limit, most))
      return {
        rlimits: [...others, ...asked].map(({ type, hard, soft }) => ({ type, hard, soft })),
        notices: asked.flatMap(({ notice }) => notice)
      }
    },
    cleanup: async () => undefined
  }
}

interface Clamped {
  readonly type: string
  readonly hard: number
  readonly soft: number
  readonly notice: readonly string[]
}

function clamped({ name, soft, hard }: ProcessLimit, own: ReadonlyMap<string, number>): Clamped {
  const row = Object.hasOwn(rows, name) ? rows[name] : undefined
  if (row === undefined) {
    const say = `there is no process limit ${JSON.stringify(name)}: the names are ${Object.keys(rows).join(', ')}`
    throw new Fault('invalid', say, { reason: 'task_invalid' })
  }
  const most = own.get(row) ?? 0
  const given = hard === -1 ? most : Math.min(hard, most)
  const cut = hard > most ? [`the limit ${name} is ${most} and not ${hard}: more this node’s agent may not give`] : []
  return { type: `RLIMIT_${name.toUpperCase()}`, hard: given, soft: soft === -1 ? given : Math.min(soft, given), notice: cut }
}

/** Rows of /proc/PID/limits: name, soft, hard, unit in fixed columns (proc(5)). */
function parseHardLimits(text: string): ReadonlyMap<string, number> {
  const parsed = text.split('\n').flatMap((line) => {
    const match = /^(\S.*?)\s{2,}(\S+)\s+(\S+)/.exec(line)
    if (match === null) return []
    const [, name = '', , hard = ''] = match
    return [[name, hard === 'unlimited' ? Number.MAX_SAFE_INTEGER : Number(hard)] as const]
  })
  return new Map(parsed.filter(([, hard]) => Number.isSafeInteger(hard)))
}
