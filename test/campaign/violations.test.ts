import t from 'tap'
import type { TaskStatus } from '../../proto/gen/messages.ts'
import type { Expected, ExpectedTask, ReceivedStatus } from './invariants/expected.ts'
import { joinLog, sequenceProblems } from './invariants/logs.ts'
import { executionsOf } from './invariants/marks.ts'
import type { Observation } from './invariants/observe.ts'
import { statusProblems } from './invariants/status-order.ts'
import { violations } from './invariants/violations.ts'

const [running, ended, forgotten] = ['a', 'b', 'c'].map((letter) => letter.repeat(32)) as [string, string, string]

const tasks: readonly ExpectedTask[] = [
  { taskId: 'runs', containerId: running, wanted: 'running', ends: [], executionsLeast: 1, processes: 1 },
  {
    taskId: 'counted',
    containerId: ended,
    wanted: 'ended',
    ends: [{ state: 'failed', reason: 'exited', exitCode: 7 }],
    executionsLeast: 1,
    counts: { cut: false }
  },
  {
    taskId: 'gone',
    containerId: forgotten,
    wanted: 'forgotten',
    ends: [{ state: 'finished', reason: 'exited' }],
    executionsLeast: 1
  }
]

function status(number: number, containerId: string, state: TaskStatus['state'], more: Partial<TaskStatus> = {}): ReceivedStatus {
  const taskId = tasks.find((task) => task.containerId === containerId)?.taskId ?? ''
  const told = { number, containerId, taskId, state, reason: 'exited', message: '', exitCode: null, ...more }
  return { status: told as TaskStatus, digest: JSON.stringify(told) }
}

const statuses = [
  status(1, running, 'running'),
  status(2, ended, 'running'),
  status(3, forgotten, 'running'),
  status(2, ended, 'running'),
  status(4, ended, 'failed', { exitCode: 7 }),
  status(5, forgotten, 'finished', { exitCode: 0 })
]

const clean: Observation = {
  processes: [
    { pid: 10, kind: 'agent', containerId: '', command: 'agent.cjs' },
    { pid: 11, kind: 'monitor', containerId: running, command: 'conmon' },
    { pid: 12, kind: 'program', containerId: running, command: 'sh' }
  ],
  cgroups: [
    { path: '/sys/fs/cgroup/pids/parent', name: '' },
    { path: `/sys/fs/cgroup/pids/parent/${running}`, name: running }
  ],
  mounts: [],
  networkNamespaces: [],
  links: [],
  nftElements: [],
  loopDevices: [],
  bootDirectories: ['/run/hearth-1'],
  runtimeStates: [running],
  bundles: [running],
  leases: [],
  tracingInstances: [],
  exitFiles: [],
  sandboxes: new Map([
    [running, ['log', 'log.held', 'files', 'upper', 'work']],
    [ended, ['log', 'log.1', 'files']]
  ]),
  trash: [],
  drafts: [],
  executions: new Map([
    [running, [{ who: '100' }]],
    [ended, [{ who: '101', exitCode: 7, lines: 3 }]],
    [forgotten, [{ who: '102', exitCode: 0 }]]
  ]),
  logs: new Map([[ended, { stdout: '1\n2\n3\n', stderr: '', foreign: [] }]]),
  ledger: { records: 20, problems: [] }
}

const expected: Expected = { tasks, statuses, agentRuns: true }
const look = (seen: Partial<Observation>, told: Partial<Expected> = {}): string =>
  violations({ ...expected, ...told }, { ...clean, ...seen }).join('\n')
const withLog = (stdout: string, foreign: readonly string[] = []) =>
  look({ logs: new Map([[ended, { stdout, stderr: '', foreign }]]) })
const instead = (number: number, other: ReceivedStatus) =>
  look({}, { statuses: statuses.map((s) => (s.status.number === number ? other : s)) })
const ready = tasks.map((task) => (task.containerId === running ? { ...task, ready: true } : task))

t.test('a world in which all is well breaks no invariant', async (t) => {
  t.strictSame(violations(expected, clean), [])
})

const planted: readonly (readonly [sentence: string, found: string, told: RegExp])[] = [
  [
    'a program that began twice',
    look({ executions: new Map([...clean.executions, [running, [{ who: '100' }, { who: '200' }]]]) }),
    /^no task runs twice: .*runs .* began 2 times$/
  ],
  [
    'an end that is not told',
    instead(4, status(4, ended, 'running')),
    /^no exit code is lost: the end of counted .* never told$/m
  ],
  [
    'an exit code that became another',
    instead(4, status(4, ended, 'failed', { exitCode: 1 })),
    /^no exit code is lost: counted .* exited with 7, and was told/m
  ],
  [
    'an exit that nobody is said to know',
    instead(4, status(4, ended, 'failed', { reason: 'exit_unknown' })),
    /^no exit code is lost: counted .* told to have ended as failed, exit_unknown/m
  ],
  [
    'an end of what runs',
    look({}, { statuses: [...statuses, status(6, running, 'failed')] }),
    /^no exit code is lost: runs .* runs, and was told to have ended/m
  ],
  ['a lost line', withLog('1\n3\n'), /^no log byte is lost or doubled: .*lines 2 to 2 are lost$/m],
  ['lost lines at the end', withLog('1\n2\n'), /^no log byte is lost or doubled: .*lines 3 to 3 are lost$/m],
  ['a doubled line', withLog('1\n2\n2\n3\n'), /^no log byte is lost or doubled: .*line 2 stands again/m],
  ['a line that is torn', withLog('1\n2x\n3\n'), /^no log byte is lost or doubled: .*"2x" stands after line 1/m],
  ['bytes that no program wrote', withLog('1\n2\n3\n', ['junk']), /^no log byte is lost or doubled: .*"junk" is no line/m],
  ['a log that is gone', look({ logs: new Map() }), /^no log byte is lost or doubled: .*it has none$/m],
  [
    'a cgroup of an ended container',
    look({ cgroups: [...clean.cgroups, { path: `/c/parent/${ended}`, name: ended }] }),
    /^nothing is orphaned: cgroup \/c\/parent\/b+$/m
  ],
  ['a mount', look({ mounts: ['/s/run/c/x/root'] }), /^nothing is orphaned: mount \/s/m],
  ['a network namespace', look({ networkNamespaces: ['aaaa'] }), /^nothing is orphaned: network namespace aaaa$/m],
  ['a link', look({ links: ['vethaaaa'] }), /^nothing is orphaned: link vethaaaa$/m],
  ['an nft element', look({ nftElements: ['aaaa'] }), /^nothing is orphaned: nft element aaaa$/m],
  ['a loop device', look({ loopDevices: ['loop7'] }), /^nothing is orphaned: loop device loop7$/m],
  [
    'a conmon of an ended container',
    look({ processes: [...clean.processes, { pid: 20, kind: 'monitor', containerId: ended, command: 'conmon -c' }] }),
    /^nothing is orphaned: conmon with pid 20: conmon -c$/m
  ],
  [
    'a runtime that works for nobody',
    look({ processes: [...clean.processes, { pid: 20, kind: 'runtime', containerId: running, command: 'runc exec' }] }),
    /^nothing is orphaned: runtime with pid 20: runc exec$/m
  ],
  [
    'a program that an exec left',
    look({ processes: [...clean.processes, { pid: 20, kind: 'program', containerId: running, command: 'sleep' }] }),
    /^nothing is orphaned: runs .* has 2 processes, 1 of them its own$/m
  ],
  ['an agent where none shall run', look({}, { agentRuns: false }), /^nothing is orphaned: agent with pid 10/m],
  ['a state of runc', look({ runtimeStates: [running, ended] }), /^nothing is orphaned: runtime state b+$/m],
  ['a bundle', look({ bundles: [running, forgotten] }), /^nothing is orphaned: bundle c+$/m],
  ['an exit file', look({ exitFiles: [ended] }), /^nothing is orphaned: exit file b+$/m],
  ['a sandbox of a forgotten task', look({ sandboxes: new Map([...clean.sandboxes, [forgotten, []]]) }), /: sandbox c+$/m],
  [
    'the writable layer of an ended container',
    look({ sandboxes: new Map([...clean.sandboxes, [ended, ['log', 'files', 'upper']]]) }),
    /^nothing is orphaned: file of the ended container b+: upper$/m
  ],
  ['a writable layer in the trash', look({ trash: ['c-upper'] }), /^nothing is orphaned: discarded directory c-upper$/m],
  [
    'a half-written file',
    look({ drafts: ['agent/ledger/ledger-2.log.draft'] }),
    /^nothing is orphaned: half-written file agent/m
  ],
  [
    'a verdict that was forgotten',
    look({}, { tasks: ready }),
    /^the health verdict is kept: runs .* is ready, and was told to be not ready$/m
  ],
  [
    'a wanted task without a process',
    look({ processes: clean.processes.filter((p) => p.kind !== 'program') }),
    /^what is wanted is what runs: runs .* shall run, and has no process$/m
  ],
  [
    'a wanted task without its monitor',
    look({ processes: clean.processes.filter((p) => p.kind !== 'monitor') }),
    /^what is wanted is what runs: runs .* shall run, and has 0 monitors$/m
  ],
  [
    'an ended task that still runs',
    look({ processes: [...clean.processes, { pid: 20, kind: 'program', containerId: ended, command: 'sh' }] }),
    /^what is wanted is what runs: counted .* shall not run, and has 1 processes$/m
  ],
  [
    'a task that never began',
    look({ executions: new Map([...clean.executions].filter(([id]) => id !== ended)) }),
    /^what is wanted is what runs: the program of counted .* never began/m
  ],
  [
    'the sandbox of an ended task that is gone',
    look({ sandboxes: new Map([[running, ['log']]]) }),
    /^what is wanted is what runs: the sandbox of counted .* is gone$/m
  ],
  [
    'a number with other words',
    look({}, { statuses: [...statuses, status(1, running, 'running', { message: 'other' })] }),
    /^statuses come once and in order: number 1 came twice with different words$/m
  ],
  [
    'a status out of order',
    look({}, { statuses: [statuses[4], statuses[1], ...statuses.filter((s) => ![2, 4].includes(s.status.number))] as never }),
    /^statuses come once and in order: counted: number 2 \(running\) came after 4 \(failed\)$/m
  ],
  [
    'a second end',
    look({}, { statuses: [...statuses, status(6, ended, 'finished', { exitCode: 7 })] }),
    /^statuses come once and in order: counted went from failed to finished$/m
  ],
  [
    'a status that was lost',
    look({}, { statuses: statuses.filter((s) => s.status.number !== 3) }),
    /^statuses come once and in order: number 3 never came, though 4 did$/m
  ],
  [
    'a damaged ledger',
    look({ ledger: { records: 3, problems: ['record 4: torn'] } }),
    /^the ledger reads clean: record 4: torn$/m
  ]
]

t.test('each broken invariant is named', async (t) => {
  for (const [sentence, found, told] of planted) t.match(found, told, sentence)
})

t.test('a log may begin anywhere where old files have gone by its budget, and nowhere else', async (t) => {
  t.strictSame(sequenceProblems('5\n6\n7\n', { last: 7, cut: true }), [])
  t.match(sequenceProblems('5\n6\n7\n', { last: 7, cut: false }), ['lines 1 to 4 are lost'])
  t.match(sequenceProblems('5\n6\n8\n', { last: 8, cut: true }), ['lines 7 to 7 are lost'])
})

t.test('pieces of a line are joined across files, whatever the files are called', async (t) => {
  const file = (text: string) => ({ bytes: Buffer.from(text) })
  const later = file('2026-01-01T00:00:02.000000000+00:00 stdout F 34\n2026-01-01T00:00:03.000000000+00:00 stderr F e\n')
  const earlier = file('2026-01-01T00:00:00.000000000+00:00 stdout F 1\n2026-01-01T00:00:01.000000000+00:00 stdout P 2\n')
  t.strictSame(joinLog([later, earlier]), { stdout: '1\n234\n', stderr: 'e\n', foreign: [] })
  t.strictSame(joinLog([file('no record\n')]).foreign, ['no record'])
})

t.test('after the loss of its ledger an agent numbers its statuses by the clock, and leaves none out from there', async (t) => {
  const told = (...numbers: readonly number[]) =>
    statusProblems(
      numbers.map((number) => ({ status: { number, containerId: `${number}`, state: 'running' }, digest: '' })) as never
    )
  t.strictSame(told(1, 1_795_352_920_200, 1_795_352_920_201), [])
  t.strictSame(told(1, 1_795_352_920_200, 1_795_352_920_203), [
    'number 1795352920201 to 1795352920202 never came, though 1795352920203 did'
  ])
})

t.test('marks tell executions apart and what each one ended with', async (t) => {
  const stat = (ticks: number): string => `7 (a (b) c) S 1 ${'0 '.repeat(17)}${ticks} 0`
  t.strictSame(executionsOf(`start ${stat(5)}\nend 3 12\nstart ${stat(6)}\n`), [
    { who: '5', exitCode: 3, lines: 12 },
    { who: '6' }
  ])
})
