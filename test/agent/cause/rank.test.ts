import t from 'tap'
import { parseKernelRecord } from '../../../agent/cause/kernel-event.ts'
import { type Evidence, rankCauses } from '../../../agent/cause/rank.ts'
import { parseSignals } from '../../../agent/cause/signal-event.ts'

const id = '90a530c685fb0ede07bf0f8e9fb1170f'
const other = '32cbf74aa36aa09784d07d96bb4f14ef'
const base: Evidence = {
  state: 'failed',
  reason: 'exited',
  message: '',
  exitCode: 3,
  signal: undefined,
  containerId: id,
  pid: 500,
  oomKills: 0,
  memoryLimitBytes: 32 * 1024 * 1024,
  diskFull: false,
  kernel: [],
  signals: [],
  nowSeconds: 1_000,
  lastLines: [],
  describe: () => undefined
}
const first = (more: Partial<Evidence>): string => {
  const [cause] = rankCauses({ ...base, ...more })
  return cause === undefined ? 'none' : `${cause.kind} ${cause.certainty}`
}

const oom = (limit: string, at: number, pid = 501, task = id) => ({
  kind: 'oom' as const,
  atSeconds: at,
  scope: limit === '' ? ('host' as const) : ('limit' as const),
  limitPath: limit,
  path: `/hearth-x/${task}`,
  comm: 'sh',
  pid
})
const own = `/hearth-x/${id}`
const killed = { exitCode: 137, signal: 9 }
const sent = (signal: number, toPid: number, more: object = {}) => ({
  atSeconds: 999,
  signal,
  fromPid: 700,
  fromComm: 'sh',
  toPid,
  toComm: 'x',
  byKernel: false,
  delivered: true,
  ...more
})

const cases: readonly (readonly [string, Partial<Evidence>, string])[] = [
  ['a success has no cause', { exitCode: 0 }, 'none'],
  ['an exit code', {}, 'exit_code proved'],
  ['killed for its own limit', { ...killed, oomKills: 1, kernel: [oom(own, 999)] }, 'memory_limit proved'],
  ['killed for its limit, and the kernel’s log is closed to us', { ...killed, oomKills: 1 }, 'memory_limit proved'],
  ['a child killed just before', { exitCode: 1, oomKills: 1, kernel: [oom(own, 999)] }, 'memory_limit proved'],
  ['a child killed long before', { exitCode: 1, oomKills: 1, kernel: [oom(own, 900)] }, 'exit_code proved'],
  ['the limit above its own', { ...killed, oomKills: 1, kernel: [oom('/hearth-x', 999)] }, 'host_memory proved'],
  ['the node without memory', { ...killed, oomKills: 1, kernel: [oom('', 999)] }, 'host_memory proved'],
  ['the neighbour killed for memory', { ...killed, kernel: [oom('', 999, 9, other)] }, 'child_signal likely'],
  ['asked to end, and killed', { ...killed, state: 'killed', reason: 'kill_requested' }, 'operator proved'],
  ['asked to end, and killed for memory', { ...killed, reason: 'kill_requested', oomKills: 1 }, 'operator proved'],
  ['over its disk limit', { ...killed, reason: 'limit_disk', message: 'too much' }, 'disk_limit proved'],
  ['a probe', { ...killed, reason: 'probe_failed' }, 'probe proved'],
  ['a lease', { ...killed, reason: 'lease_expired' }, 'lease proved'],
  ['a lease that ended it unseen', { exitCode: undefined, reason: 'lease_expired' }, 'lease proved'],
  ['killed from outside', { ...killed, signals: [sent(9, 500)] }, 'outside_signal proved'],
  ['a signal that was ignored', { ...killed, signals: [sent(9, 500, { delivered: false })] }, 'child_signal likely'],
  ['a signal of another hour', { ...killed, signals: [sent(9, 500, { atSeconds: 10 })] }, 'child_signal likely'],
  ['a child that was killed', { ...killed, signals: [sent(9, 501)] }, 'child_signal likely'],
  ['killed, and the node does not tell by whom', { ...killed, signals: undefined }, 'outside_signal possible'],
  ['a fault', { exitCode: 139, signal: 11, signals: [sent(11, 500, { byKernel: true, fromPid: 500 })] }, 'program_fault proved'],
  ['a fault that somebody sent', { exitCode: 139, signal: 11, signals: [sent(11, 500)] }, 'outside_signal proved'],
  [
    'a fault in the kernel’s log',
    {
      exitCode: 139,
      signal: 11,
      signals: undefined,
      kernel: [{ kind: 'fault', atSeconds: 999, comm: 'x', pid: 500, what: 'segfault' }]
    },
    'program_fault proved'
  ],
  ['an abort', { exitCode: 134, signal: 6, signals: [sent(6, 501, { fromPid: 501 })] }, 'abort likely'],
  ['an abort, and the node does not tell', { exitCode: 134, signal: 6, signals: undefined }, 'abort likely'],
  ['no room', { exitCode: 1, lastLines: ['cp: No space left on device', 'bye'] }, 'disk_full likely'],
  [
    'no more processes',
    { exitCode: 2, lastLines: ["sh: can't fork"], kernel: [{ kind: 'pids', atSeconds: 5, path: own }] },
    'pids_limit proved'
  ],
  [
    'no more processes for the neighbour',
    { exitCode: 2, kernel: [{ kind: 'pids', atSeconds: 999, path: other }] },
    'exit_code proved'
  ],
  ['refused', { exitCode: undefined, reason: 'image_unknown', message: 'no image' }, 'refusal proved'],
  ['the node restarted', { exitCode: undefined, reason: 'node_rebooted' }, 'node_reboot proved'],
  ['stopped with the node', { exitCode: undefined, reason: 'node_stopped' }, 'node_stop proved'],
  ['an exit that nobody saw', { exitCode: undefined, reason: 'exit_unknown' }, 'monitor_lost likely'],
  ['an exit that nobody saw, out of memory', { exitCode: undefined, reason: 'exit_unknown', oomKills: 1 }, 'memory_limit proved'],
  ['killed before it ran', { exitCode: undefined, state: 'killed', reason: 'killed_during_launch' }, 'operator proved']
]

t.test('the cause that explains an end best stands first', async (t) => {
  for (const [sentence, more, wanted] of cases) t.equal(first(more), wanted, sentence)
})

t.test('a sender is named, with what it is now', async (t) => {
  const [cause] = rankCauses({ ...base, ...killed, signals: [sent(9, 500)], describe: (pid) => `process ${pid} of cron` })
  t.match(cause?.summary, /^sh \(process 700\) sent SIGKILL to it from outside/)
  t.match(cause?.evidence.join('\n'), /process 700 of cron/)
})

t.test('no output makes a status large', async (t) => {
  const lastLines = [`${'x'.repeat(100_000)} No space left on device`]
  t.ok(JSON.stringify(rankCauses({ ...base, message: 'y'.repeat(100_000), lastLines })).length < 10_000)
})

t.test('records of the kernel’s log are read as they are written', async (t) => {
  const record = (text: string): string => `6,23174,10227661492,-;${text}\n SUBSYSTEM=x\n`
  t.match(
    parseKernelRecord(
      record(
        `oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=a,mems_allowed=0,oom_memcg=${own},task_memcg=${own},task=sh,pid=18055,uid=0`
      )
    ),
    { kind: 'oom', atSeconds: 10_227.661492, scope: 'limit', limitPath: own, path: own, comm: 'sh', pid: 18055 }
  )
  t.match(
    parseKernelRecord(
      record(`oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),global_oom,task_memcg=${own},task=x,pid=1,uid=0`)
    ),
    {
      scope: 'host',
      path: own
    }
  )
  t.match(parseKernelRecord(record(`cgroup: fork rejected by pids controller in ${own}`)), { kind: 'pids', path: own })
  t.match(parseKernelRecord(record('a b[12]: segfault at 0 ip 1 sp 2 error 4')), { kind: 'fault', comm: 'a b', pid: 12 })
  t.match(parseKernelRecord(record('traps: x[13] trap divide error ip:1 sp:2 error:0')), { kind: 'fault', comm: 'x', pid: 13 })
  for (const noise of ['', 'noise', record('usb 1-1: new device'), '6,1,x,-;oom-kill:', record('[1]: segfault')])
    t.equal(parseKernelRecord(noise), undefined, noise)
})

t.test('lines of the kernel’s tracing are read as they are written', async (t) => {
  const text = `# tracer: nop
              sh-10933   [001] d..1. 14772.514235: signal_generate: sig=9 errno=0 code=0 comm=sh pid=10934 grp=1 res=0
       my prog-2-77      [000] d..1. 14772.6: signal_generate: sig=11 errno=0 code=1 comm=my prog-2 pid=77 grp=0 res=1
  noise`
  t.match(parseSignals(text), [
    { signal: 9, fromPid: 10933, fromComm: 'sh', toPid: 10934, byKernel: false, delivered: true, atSeconds: 14772.514235 },
    { signal: 11, fromPid: 77, fromComm: 'my prog-2', toPid: 77, byKernel: true, delivered: false }
  ])
})
