import t from 'tap'
import { LedgerState } from '../../agent/ledger/view.ts'
import type { LedgerTask } from '../../agent/ports.ts'
import { type RecoveryAction, recover } from '../../agent/recovery.ts'
import type { Observed } from '../../isolators/runtime/runtime.ts'
import { completeMessage } from '../../proto/codec.ts'
import type { Phase, TaskState } from '../../proto/gen/messages.ts'

const bootId = 'this-boot'
const id = 'c1'

interface Case {
  /** The last status that was recorded. */
  readonly state?: TaskState
  readonly conmon?: Phase
  readonly kill?: boolean
  readonly boot?: string
  readonly doubtful?: boolean
  readonly rowLost?: boolean
}

function taskOf(c: Case): LedgerTask {
  const group = c.rowLost === true ? null : { frameworkId: 'f', role: '*', tasks: [{ taskId: 't' }] }
  const objects = new Map(
    c.conmon === undefined
      ? []
      : [
          [
            `conmon:${id}`,
            completeMessage('ObjectRow', { kind: 'conmon', id, containerId: id, phase: c.conmon, bootId: c.boot ?? bootId })
          ] as const
        ]
  )
  const latest = c.state === undefined ? null : completeMessage('TaskStatus', { containerId: id, state: c.state, number: 1 })
  return {
    row: completeMessage('TaskRow', { group, attempt: 1, containerId: id }),
    kill: c.kill === true ? { containerId: id, policy: { signal: 'SIGINT', graceMs: 7 } } : null,
    objects,
    latest,
    unacknowledged: [],
    doubtful: c.doubtful ?? false
  }
}

const container = { pid: 9, startTicks: 8, monitorPid: 7 }
const exit = { kind: 'exited', code: 3, signal: undefined, outOfMemory: false } as const
const shows: Readonly<Record<Observed['kind'], Observed>> = {
  running: { kind: 'running', container },
  exited: { kind: 'exited', exit },
  remains: { kind: 'remains' },
  absent: { kind: 'absent' }
}

const told = (action: RecoveryAction): string => {
  if (action.kind === 'report-lost') return `report-lost ${action.reason}${action.killRequested ? ' killed' : ''}`
  if (action.kind === 'report-ended') return `report-ended ${action.killRequested ? 'killed' : action.exit.kind}`
  return action.kind
}

const rows: readonly (readonly [string, Case, Observed['kind'], readonly string[]])[] = [
  ['nothing made yet', {}, 'absent', ['clean-up', 'relaunch']],
  ['a kill before anything was made', { kill: true }, 'absent', ['report-killed', 'clean-up']],
  ['half prepared', { conmon: 'intent' }, 'absent', ['clean-up', 'relaunch']],
  ['half prepared, with remains', { conmon: 'intent' }, 'remains', ['clean-up', 'relaunch']],
  ['half prepared, to be killed', { conmon: 'intent', kill: true }, 'remains', ['report-killed', 'clean-up']],
  ['started while the agent died', { conmon: 'intent' }, 'running', ['reattach']],
  ['started and ended while the agent was away', { conmon: 'intent' }, 'exited', ['report-ended exited', 'clean-up']],
  ['running', { conmon: 'done', state: 'running' }, 'running', ['reattach']],
  ['running, to be killed', { conmon: 'done', state: 'running', kill: true }, 'running', ['kill']],
  ['being killed', { conmon: 'done', state: 'killing', kill: true }, 'running', ['kill']],
  ['ended', { conmon: 'done', state: 'running' }, 'exited', ['report-ended exited', 'clean-up']],
  ['ended as asked', { conmon: 'done', state: 'killing', kill: true }, 'exited', ['report-ended killed', 'clean-up']],
  ['its monitor died too', { conmon: 'done', state: 'running' }, 'remains', ['report-lost exit_unknown', 'clean-up']],
  ['vanished', { conmon: 'done', state: 'running' }, 'absent', ['report-lost exit_unknown', 'clean-up']],
  ['vanished before it was told', { conmon: 'done' }, 'absent', ['report-lost exit_unknown', 'clean-up']],
  [
    'vanished while being killed',
    { conmon: 'done', state: 'killing', kill: true },
    'absent',
    ['report-lost exit_unknown killed', 'clean-up']
  ],
  ['the node restarted', { conmon: 'done', state: 'running', boot: 'b' }, 'absent', ['report-lost node_rebooted', 'clean-up']],
  ['the node restarted in a launch', { conmon: 'intent', boot: 'b' }, 'remains', ['report-lost node_rebooted', 'clean-up']],
  ['ended, then the node restarted', { conmon: 'done', boot: 'b' }, 'exited', ['report-ended exited', 'clean-up']],
  ['never started, but records were lost', { doubtful: true }, 'absent', ['report-lost exit_unknown', 'clean-up']],
  ['running, though records were lost', { doubtful: true, conmon: 'intent' }, 'running', ['reattach']],
  ['ended and removed', { state: 'finished' }, 'absent', []],
  ['ended and not yet removed', { state: 'failed', conmon: 'done' }, 'remains', ['clean-up']],
  ['ended, its exit still there', { state: 'finished', conmon: 'done' }, 'exited', ['clean-up']],
  ['ended, its records not all released', { state: 'killed', conmon: 'done' }, 'absent', ['clean-up']],
  ['told as failed, but it runs', { state: 'failed', conmon: 'intent' }, 'running', ['clean-up']],
  ['its row was lost, and it runs', { rowLost: true, conmon: 'done' }, 'running', ['unowned']],
  ['its row was lost after its end was told', { rowLost: true, state: 'finished', conmon: 'done' }, 'remains', ['clean-up']]
]

for (const [name, c, observed, wanted] of rows) {
  t.test(`${name}: ${wanted.join(', ') || 'nothing'}`, async (t) => {
    const state = new LedgerState()
    const view = { head: state.head, tasks: new Map([[id, taskOf(c)]]), objects: new Map(), nextStatusNumber: 1 }
    const actions = recover(view, { bootId, observed: new Map([[id, shows[observed]]]) })
    t.same(actions.map(told), wanted)
    for (const action of actions) t.equal(action.containerId, id)
  })
}

t.test('what the ledger does not know is told and left alone', async (t) => {
  const view = { head: new LedgerState().head, tasks: new Map(), objects: new Map(), nextStatusNumber: 1 }
  const observed = new Map([
    ['x', shows.running],
    ['y', shows.absent]
  ])
  t.same(recover(view, { bootId, observed }), [{ kind: 'unowned', containerId: 'x', observed: 'running' }])
})

t.test('a kill keeps its policy', async (t) => {
  const task = taskOf({ conmon: 'done', state: 'running', kill: true })
  const view = { head: new LedgerState().head, tasks: new Map([[id, task]]), objects: new Map(), nextStatusNumber: 1 }
  t.same(recover(view, { bootId, observed: new Map([[id, shows.running]]) }), [
    { kind: 'kill', containerId: id, container, policy: { signal: 'SIGINT', graceMs: 7 } }
  ])
})

t.test('what runs is taken over first, what starts anew comes last', async (t) => {
  const tasks = new Map([
    ['new', taskOf({})],
    ['gone', taskOf({ conmon: 'done' })],
    ['runs', taskOf({ conmon: 'done' })]
  ])
  const view = { head: new LedgerState().head, tasks, objects: new Map(), nextStatusNumber: 1 }
  const actions = recover(view, { bootId, observed: new Map([['runs', shows.running]]) })
  t.same(
    actions.map((action) => `${action.containerId} ${action.kind}`),
    ['runs reattach', 'gone report-lost', 'new clean-up', 'gone clean-up', 'new relaunch']
  )
})
