import { isFault } from '../../base/fault.ts'
import type { Explanation, Task } from '../../sdk/operator-messages.ts'
import { type CommonOptions, type Context, writeOut } from '../context.ts'
import { hasEnded, showState } from '../output/task.ts'

/** Rows of the recorder that stand in the text; all of them are in the JSON. */
const rowsShown = 8

/** Why a task ended: causes, best first, what was seen, the last lines of its log, and what to do. */
export async function explainTask(context: Context, id: string, options: CommonOptions): Promise<number> {
  const { tasks } = context.client(options)
  const task = await tasks.show(id, context.signal)
  let node: Explanation | undefined
  let away: string | undefined
  try {
    node = await tasks.explain(task.taskId, context.signal)
  } catch (e) {
    if (!isFault(e)) throw e
    away = e.message // the causes are known here all the same
  }
  const { stdout } = context.streams
  const { lastLines = [], record = [] } = node ?? {}
  if (options.json === true) await writeOut(stdout, `${JSON.stringify({ task, lastLines, record }, null, 2)}\n`)
  else
    await writeOut(
      stdout,
      `${[...headOf(task), ...causesOf(task), ...logOf(lastLines), ...recordOf(record), ...awayOf(away)].join('\n')}\n`
    )
  return 0
}

const headOf = (task: Task): string[] => [`Task ${task.taskId} (${task.name}): ${showState(task, Date.now())}`]

function causesOf(task: Task): string[] {
  const { causes = [] } = task
  if (causes.length > 0) {
    return causes.flatMap((cause, i) => [
      '',
      `${i + 1}. ${cause.summary} (${cause.certainty})`,
      ...cause.evidence.map((line) => `     ${line}`),
      ...(i === 0 ? [`   What to do: ${cause.advice}`] : [])
    ])
  }
  if (!hasEnded(task)) return ['', 'It has not ended.']
  return ['', task.state === 'finished' ? 'It ended by itself with exit code 0.' : (task.message ?? 'No cause was recorded.')]
}

const logOf = (lines: readonly string[]): string[] =>
  lines.length === 0 ? [] : ['', 'Last lines of its log:', ...lines.map((line) => `  ${line}`)]

function recordOf(rows: Explanation['record']): string[] {
  if (rows.length === 0) return []
  const shown = rows.slice(-rowsShown).map(({ atMs, event, ...facts }) => {
    const said = Object.entries(facts).map(([name, value]) => `${name}=${String(value)}`)
    return `  ${new Date(Number(atMs)).toISOString()} ${String(event)} ${said.join(' ')}`
  })
  return ['', 'What the node recorded:', ...shown]
}

const awayOf = (why: string | undefined): string[] =>
  why === undefined ? [] : ['', `Its log and the node’s record cannot be read now: ${why}`]
