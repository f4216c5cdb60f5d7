/** What the kernel's log tells of interest here. */
export type KernelEvent =
  | {
      readonly kind: 'oom'
      readonly atSeconds: number
      readonly scope: 'limit' | 'host'
      readonly limitPath: string
      readonly path: string
      readonly comm: string
      readonly pid: number
    }
  | { readonly kind: 'fault'; readonly atSeconds: number; readonly comm: string; readonly pid: number; readonly what: string }
  | { readonly kind: 'pids'; readonly atSeconds: number; readonly path: string }

/**
 * One record of /dev/kmsg (Documentation/ABI/testing/dev-kmsg): `priority,sequence,µs since boot,flags;text`. Undefined for what
 * is of no interest. The texts are those of mm/oom_kill.c, kernel/cgroup/pids.c and arch/x86/mm/fault.c and traps.c.
 */
export function parseKernelRecord(record: string): KernelEvent | undefined {
  const [, micros = '', text = ''] = /^\d+,\d+,(\d+),[^;]*;([^\n]*)/.exec(record) ?? []
  if (text === '') return undefined
  const atSeconds = Number(micros) / 1e6
  if (text.startsWith('oom-kill:')) return oomOf(text, atSeconds)
  const pids = /^cgroup: fork rejected by pids controller in (.+)$/.exec(text)
  if (pids !== null) return { kind: 'pids', atSeconds, path: pids[1] ?? '' }
  const fault = /^(.{1,16})\[(\d+)\]: (segfault|unhandled|bus error)/.exec(text) ?? undefined
  if (fault !== undefined)
    return { kind: 'fault', atSeconds, comm: fault[1] ?? '', pid: Number(fault[2]), what: text.slice(0, 160) }
  const trap = /^traps: (.{1,16})\[(\d+)\] (.*)$/.exec(text) ?? undefined
  if (trap !== undefined) return { kind: 'fault', atSeconds, comm: trap[1] ?? '', pid: Number(trap[2]), what: text.slice(0, 160) }
  return undefined
}

function oomOf(text: string, atSeconds: number): KernelEvent {
  const of = (name: string): string => new RegExp(`(?:^|,)${name}=([^,]*)`).exec(text.slice('oom-kill:'.length))?.[1] ?? ''
  const isLimit = of('constraint') === 'CONSTRAINT_MEMCG'
  return {
    kind: 'oom',
    atSeconds,
    scope: isLimit ? 'limit' : 'host',
    limitPath: of('oom_memcg'),
    path: of('task_memcg'),
    comm: of('task'),
    pid: Number(of('pid'))
  }
}
