import { anyRole } from '../../proto/ids.ts'
import type { Task } from '../../sdk/operator-messages.ts'
import { showDuration } from '../amounts.ts'
import { type CommonOptions, type Context, wantsColour, widthOf, writeOut } from '../context.ts'
import { paintWith } from '../output/colour.ts'
import { showResources } from '../output/resources.ts'
import { renderFacts, renderTable } from '../output/table.ts'
import { hasEnded, paintState, shortId, showSignal, showState } from '../output/task.ts'
import { showWalls } from '../output/walls.ts'

interface ListOptions extends CommonOptions {
  readonly all?: boolean
  readonly quiet?: boolean
  readonly role?: string
}

/** Only where it tells something. */
const roleColumn = { title: 'ROLE', value: (task: Task) => task.role, shrinks: true }

export async function listTasks(context: Context, options: ListOptions): Promise<number> {
  const all = await context.client(options).tasks.list({ role: options.role }, context.signal)
  const tasks = options.all === true || options.json === true ? all : all.filter((task) => !hasEnded(task))
  const { stdout, stderr } = context.streams
  if (options.json === true) await writeOut(stdout, `${JSON.stringify(tasks, null, 2)}\n`)
  else if (options.quiet === true) await writeOut(stdout, tasks.map((task) => `${task.taskId}\n`).join(''))
  else {
    const nowMs = Date.now()
    const paint = paintWith(wantsColour(stdout, context.env))
    const table = renderTable(
      [
        { title: 'TASK', value: (task) => shortId(task.taskId) },
        { title: 'NAME', value: (task) => task.name, shrinks: true },
        { title: 'STATE', value: (task) => showState(task, nowMs), colour: (text, task) => paintState(paint, text, task) },
        { title: 'IMAGE', value: (task) => task.image, shrinks: true },
        ...(tasks.some((task) => task.role !== anyRole) ? [roleColumn] : []),
        { title: 'NODE', value: (task) => task.hostname ?? '', shrinks: true },
        { title: 'COMMAND', value: (task) => task.arguments.join(' '), shrinks: true }
      ],
      tasks,
      widthOf(stdout)
    )
    await writeOut(stdout, table)
    const hidden = all.length - tasks.length
    if (hidden > 0 && stderr.isTTY === true) stderr.write(`${hidden} ended (hearth task list --all)\n`)
  }
  return 0
}

/** Of a single task nothing, as from a master that knows nothing of pods. */
const partOf = ({ part }: Task): string | null => part ?? null

export async function showTask(context: Context, id: string, options: CommonOptions): Promise<number> {
  const task = await context.client(options).tasks.show(id, context.signal)
  const { stdout } = context.streams
  if (options.json === true) {
    await writeOut(stdout, `${JSON.stringify(task, null, 2)}\n`)
    return 0
  }
  const time = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString())
  const ran = task.startedAtMs === null ? null : showDuration((task.endedAtMs ?? Date.now()) - task.startedAtMs)
  await writeOut(
    stdout,
    renderFacts([
      ['Task', task.taskId],
      ['Name', task.name],
      ['State', task.state],
      ['Reason', task.reason === 'unspecified_reason' ? null : task.reason],
      ['Message', task.message],
      ['Exit code', task.exitCode === null ? null : String(task.exitCode)],
      ['Signal', task.signal === null || task.signal === 0 ? null : showSignal(task.signal)],
      ['Part of its pod', partOf(task)],
      ['Image', task.image],
      ['Command', task.arguments.map(quoted).join(' ')],
      ['Resources', showResources(task.resources)],
      [
        'Labels',
        Object.entries(task.labels ?? {})
          .map(([k, v]) => `${k}=${v}`)
          .join(', ')
      ],
      ['Node', task.hostname === null ? task.nodeId : `${task.hostname} (${shortId(task.nodeId ?? '')})`],
      ['Container', task.containerId],
      ['Attempt', String(task.attempt)],
      ['Framework', task.frameworkId],
      ['Role', task.role],
      ['Created', time(task.createdAtMs)],
      ['Started', time(task.startedAtMs)],
      ['Ended', time(task.endedAtMs)],
      ['Ran', ran],
      ['Ready', task.ready === null ? null : task.ready ? 'yes' : 'no'],
      ['Walls', showWalls(task)],
      ['Restart', task.restart === 'never' ? null : task.restart],
      ['Lease', showLease(task)]
    ])
  )
  if (task.attempts.length > 1) await writeOut(stdout, `\n${attemptTable(task, widthOf(stdout))}`)
  return 0
}

const leaseStates = { wanted: 'not granted yet', held: 'held', over: 'over' } as const

const showLease = ({ lease }: Task): string | null =>
  lease == null ? null : `${showDuration(lease.lengthMs)}, ${leaseStates[lease.state]}`

const attemptTable = ({ attempts }: Task, width: number | undefined): string =>
  renderTable(
    [
      { title: 'ATTEMPT', value: (a) => String(a.attempt), align: 'right' },
      { title: 'STATE', value: (a) => a.state },
      { title: 'REASON', value: (a) => a.reason ?? '' },
      { title: 'EXIT', value: (a) => (a.exitCode === null ? '' : String(a.exitCode)), align: 'right' },
      { title: 'STARTED', value: (a) => (a.startedAtMs === null ? '' : new Date(a.startedAtMs).toISOString()) },
      { title: 'ENDED', value: (a) => (a.endedAtMs === null ? '' : new Date(a.endedAtMs).toISOString()) },
      { title: 'MESSAGE', value: (a) => a.message ?? '', shrinks: true }
    ],
    attempts,
    width
  )

const quoted = (word: string): string => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)
