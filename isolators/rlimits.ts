import { readFile } from 'node:fs/promises'
import type { Isolator } from './isolator.ts'

const wanted = [
  { type: 'RLIMIT_NOFILE', row: 'Max open files', soft: 1024, hard: 1_048_576 },
  { type: 'RLIMIT_CORE', row: 'Max core file size', soft: 0, hard: 0 }
] as const

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
    async prepare() {
      const most = await own()
      return {
        rlimits: wanted.map(({ type, row, soft, hard }) => {
          const clamped = Math.min(hard, most.get(row) ?? 0)
          return { type, hard: clamped, soft: Math.min(soft, clamped) }
        })
      }
    },
    cleanup: async () => undefined
  }
}

/** Rows of /proc/PID/limits: name, soft, hard, unit in fixed columns (proc(5)). */
function parseHardLimits(text: string): ReadonlyMap<string, number> {
  const rows = text.split('\n').flatMap((line) => {
    const match = /^(\S.*?)\s{2,}(\S+)\s+(\S+)/.exec(line)
    if (match === null) return []
    const [, name = '', , hard = ''] = match
    return [[name, hard === 'unlimited' ? Number.MAX_SAFE_INTEGER : Number(hard)] as const]
  })
  return new Map(rows.filter(([, hard]) => Number.isSafeInteger(hard)))
}
