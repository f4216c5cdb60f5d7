import t from 'tap'
import { LedgerState } from '../../agent/ledger/view.ts'
import type { LedgerTask } from '../../agent/ports.ts'
import { type RecoveryAction, type RecoveryFacts, recover } from '../../agent/recovery.ts'
import type { Observed } from '../../isolators/runtime/runtime.ts'
import { completeMessage } from '../../proto/codec.ts'
import type { Phase, TaskRow, TaskState } from '../../proto/gen/messages.ts'

const bootId = 'this-boot'
const id = 'c1'

interface Case {
  /** The last status that was recorded. */
  readonly state?: TaskState
  readonly conmon?: Phase
  readonly kill?: boolean
  readonly boot?: string
  /** Of the row: the boot in which it was accepted. */
  readonly rowBoot?: string
  /** It follows an attempt before it. */
  readonly restart?: boolean
  readonly doubtful?: boolean
  readonly rowLost?: boolean
  /** The bundle carries the row. */
  readonly kept?: boolean
}

type Shown = keyof typeof shows

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
  const latest =
    c.state === undefined
      ? null
      : completeMessage('TaskStatus', { frameworkId: 'f', taskId: 't', attempt: 1, containerId: id, state: c.state, number: 1 })
  return {
    row: completeMessage('TaskRow', {
      group,
      attempt: 1,
      containerId: id,
      bootId: c.rowBoot ?? '',
      previousContainerId: c.restart === true ? 'c0' : ''
    }),
    kill: c.kill === true ? { containerId: id, policy: { signal: 'SIGINT', graceMs: 7 } } : null,
    objects,
    latest,
    unacknowledged: [],
    doubtful: c.doubtful ?? false
  }
}

const container = { pid: 9, startTicks: 8, monitorPid: 7 }
const exit = { kind: 'exited', code: 3, signal: undefined, outOfMemory: false } as const
const shows = {
  running: { kind: 'running', container },
  /** Its cgroup has processes; the one that would be its first is known. */
  maybe: { kind: 'unknown', container },
  /** Its cgroup has processes, and that is all. */
  somebody: { kind: 'unknown', container: undefined },
  exited: { kind: 'exited', exit },
  remains: { kind: 'remains' },
  absent: { kind: 'absent' }
} satisfies Readonly<Record<string, Observed>>

const keptRow: TaskRow = completeMessage('TaskRow', {
  group: { frameworkId: 'f', role: '*', tasks: [{ taskId: 't' }] },
  attempt: 1,
  containerId: id
})
const factsOf = (observed: ReadonlyMap<string, Observed>, more: Partial<RecoveryFacts> = {}): RecoveryFacts => ({
  bootId,
  observed,
  kept: new Map(),
  isWhole: true,
  ...more
})

const told = (action: RecoveryAction): string => {
  if (action.kind === 'report-lost') return `report-lost ${action.reason}${action.killRequested ? ' killed' : ''}`
  if (action.kind === 'report-ended') return `report-ended ${action.killRequested ? 'killed' : action.exit.kind}`
  return action.kind
}

const rows: readonly (readonly [string, Case, Shown, readonly string[]])[] = [
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
  ['accepted before the node restarted', { rowBoot: 'b' }, 'absent', ['report-lost node_rebooted', 'clean-up']],
  ['a restart that waited while the node restarted', { rowBoot: 'b', restart: true }, 'absent', ['clean-up', 'relaunch']],
  ['the same, to be killed', { rowBoot: 'b', restart: true, kill: true }, 'absent', ['report-killed', 'clean-up']],
  [
    'a restart that was being made as the node restarted',
    { rowBoot: 'b', restart: true, conmon: 'intent', boot: 'b' },
    'absent',
    ['report-lost node_rebooted', 'clean-up']
  ],
  [
    'a restart that began in this boot and is gone',
    { rowBoot: 'b', restart: true, conmon: 'done', state: 'running' },
    'absent',
    ['report-lost exit_unknown', 'clean-up']
  ],
  ['ended, then the node restarted', { conmon: 'done', boot: 'b' }, 'exited', ['report-ended exited', 'clean-up']],
  ['never started, but records were lost', { doubtful: true }, 'absent', ['report-lost exit_unknown', 'clean-up']],
  ['running, though records were lost', { doubtful: true, conmon: 'intent' }, 'running', ['reattach']],
  ['ended and removed', { state: 'finished' }, 'absent', []],
  ['ended and not yet removed', { state: 'failed', conmon: 'done' }, 'remains', ['clean-up']],
  ['ended, its exit still there', { state: 'finished', conmon: 'done' }, 'exited', ['clean-up']],
  ['ended, its records not all released', { state: 'killed', conmon: 'done' }, 'absent', ['clean-up']],
  ['told as failed, but it runs', { state: 'failed', conmon: 'intent' }, 'running', ['clean-up']],
  ['running, though the boot seems to be another', { conmon: 'done', state: 'running', boot: 'b' }, 'running', ['reattach']],
  ['its pid file is gone and it lives', { conmon: 'done', state: 'running' }, 'maybe', ['reattach']],
  ['its pid file is gone and it is to be killed', { conmon: 'done', state: 'running', kill: true }, 'maybe', ['kill']],
  ['somebody lives in its cgroup', { conmon: 'done', state: 'running' }, 'somebody', ['watch']],
  ['somebody lives in its cgroup, to be killed', { conmon: 'done', state: 'killing', kill: true }, 'somebody', ['watch']],
  ['somebody lives in its cgroup after a reboot', { conmon: 'done', state: 'running', boot: 'b' }, 'somebody', ['watch']],
  ['somebody lives there, records were lost', { doubtful: true }, 'somebody', ['watch']],
  ['caught between create and start', { conmon: 'intent' }, 'maybe', ['clean-up', 'relaunch']],
  ['caught between create and start, to be killed', { conmon: 'intent', kill: true }, 'maybe', ['report-killed', 'clean-up']],
  ['caught in the middle of create', { conmon: 'intent' }, 'somebody', ['clean-up', 'relaunch']],
  ['told as ended while somebody lives in its cgroup', { state: 'failed', conmon: 'done' }, 'somebody', ['clean-up']],
  ['its row was lost, and it runs', { rowLost: true, conmon: 'done' }, 'running', ['unowned']],
  ['its row was lost, and nothing is there', { rowLost: true, conmon: 'done' }, 'absent', []],
  ['its row was lost, the bundle has it', { rowLost: true, conmon: 'done', kept: true }, 'running', ['rebuild', 'reattach']],
  [
    'its row was lost, a status tells whose it is',
    { rowLost: true, conmon: 'done', state: 'running' },
    'running',
    ['rebuild', 'reattach']
  ],
  [
    'its row was lost, and it never ran as far as is known',
    { rowLost: true, conmon: 'intent', kept: true },
    'remains',
    ['rebuild', 'report-lost exit_unknown', 'clean-up']
  ],
  [
    'its row was lost after its end was told',
    { rowLost: true, state: 'finished', conmon: 'done' },
    'remains',
    ['rebuild', 'clean-up']
  ]
]

for (const [name, c, observed, wanted] of rows) {
  t.test(`${name}: ${wanted.join(', ') || 'nothing'}`, async (t) => {
    const state = new LedgerState()
    const view = { head: state.head, tasks: new Map([[id, taskOf(c)]]), objects: new Map(), nextStatusNumber: 1 }
    const kept = new Map(c.kept === true ? [[id, keptRow]] : [])
    const actions = recover(view, factsOf(new Map([[id, shows[observed]]]), { kept }))
    t.same(actions.map(told), wanted)
    for (const action of actions) t.equal(action.containerId, id)
  })
}

t.test('what the ledger does not know is told and left alone', async (t) => {
  const view = { head: new LedgerState().head, tasks: new Map(), objects: new Map(), nextStatusNumber: 1 }
  const observed = new Map<string, Observed>([
    ['x', shows.running],
    ['y', shows.absent]
  ])
  t.same(recover(view, factsOf(observed)), [{ kind: 'unowned', containerId: 'x', observed: 'running' }])
})

const unknownRows: readonly (readonly [Shown, isWhole: boolean, readonly string[]])[] = [
  ['running', true, ['rebuild', 'reattach']],
  ['running', false, ['rebuild', 'reattach']],
  ['maybe', true, ['rebuild', 'reattach']],
  ['somebody', false, ['rebuild', 'watch']],
  ['exited', false, ['rebuild', 'report-ended exited', 'clean-up']],
  ['remains', false, ['rebuild', 'report-lost exit_unknown', 'clean-up']],
  ['exited', true, ['remove-orphan']],
  ['remains', true, ['remove-orphan']],
  ['absent', true, []]
]

for (const [observed, isWhole, wanted] of unknownRows) {
  const ledger = isWhole ? 'a whole ledger' : 'a ledger that was lost or damaged'
  t.test(`not in ${ledger}, shown as ${observed}: ${wanted.join(', ') || 'nothing'}`, async (t) => {
    const view = { head: new LedgerState().head, tasks: new Map(), objects: new Map(), nextStatusNumber: 1 }
    const kept = new Map([[id, keptRow]])
    t.same(recover(view, factsOf(new Map([[id, shows[observed]]]), { kept, isWhole })).map(told), wanted)
  })
}

t.test('no replacement is started where anybody may still live in the old cgroup, or where it may have run', async (t) => {
  for (const state of [undefined, 'staging', 'running', 'killing', 'finished'] as const)
    for (const conmon of [undefined, 'intent', 'done'] as const)
      for (const doubtful of [true, false])
        for (const boot of [bootId, 'b'])
          for (const shown of Object.keys(shows) as Shown[]) {
            const task = taskOf({ ...(state && { state }), ...(conmon && { conmon }), doubtful, boot })
            const view = { head: new LedgerState().head, tasks: new Map([[id, task]]), objects: new Map(), nextStatusNumber: 1 }
            const kinds = recover(view, factsOf(new Map([[id, shows[shown]]]))).map((a) => a.kind)
            if (!kinds.includes('relaunch')) continue
            t.same(kinds, ['clean-up', 'relaunch'], 'what is left is ended first')
            const mayHaveRun = state === 'running' || state === 'killing' || conmon === 'done' || doubtful
            t.notOk(mayHaveRun || shown === 'running' || shown === 'exited', `${state} ${conmon} ${shown}`)
          }
})

t.test('a kill keeps its policy', async (t) => {
  const task = taskOf({ conmon: 'done', state: 'running', kill: true })
  const view = { head: new LedgerState().head, tasks: new Map([[id, task]]), objects: new Map(), nextStatusNumber: 1 }
  t.same(recover(view, factsOf(new Map([[id, shows.running]]))), [
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
  const actions = recover(view, factsOf(new Map([['runs', shows.running]])))
  t.same(
    actions.map((action) => `${action.containerId} ${action.kind}`),
    ['runs reattach', 'gone report-lost', 'new clean-up', 'gone clean-up', 'new relaunch']
  )
})
