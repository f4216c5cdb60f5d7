import { parseDuration } from '../amounts.ts'
import type { CommonOptions, Context } from '../context.ts'
import { outcomeOf } from '../exit-code.ts'
import { describeFailure } from '../failure.ts'
import { hasEnded } from '../output/task.ts'
import { parseSignal } from '../task-request.ts'

interface KillOptions extends CommonOptions {
  readonly signal?: string
  readonly grace?: string
  readonly wait?: boolean
}

export async function killTasks(context: Context, ids: readonly string[], options: KillOptions): Promise<number> {
  const policy = {
    ...(options.signal === undefined ? {} : { signal: parseSignal('--signal', options.signal) }),
    ...(options.grace === undefined ? {} : { graceMs: parseDuration('--grace', options.grace) })
  }
  const { tasks } = context.client(options)
  return forEach(context, ids, async (id) => {
    const task = await tasks.kill(id, policy, context.signal)
    if (options.wait !== false && !hasEnded(task)) await tasks.wait(task.taskId, context.signal)
    return id
  })
}

interface RemoveOptions extends CommonOptions {
  readonly force?: boolean
}

export async function removeTasks(context: Context, ids: readonly string[], options: RemoveOptions): Promise<number> {
  const { tasks } = context.client(options)
  return forEach(context, ids, async (id) => {
    await tasks.remove(id, options.force === true, context.signal)
    return id
  })
}

export async function waitForTasks(context: Context, ids: readonly string[], options: CommonOptions): Promise<number> {
  const { tasks } = context.client(options)
  return forEach(context, ids, async (id) => String(outcomeOf(await tasks.wait(id, context.signal)).code))
}

/** One line on standard output for each that went well, one sentence on standard error for each that did not; the last code. */
export async function forEach(context: Context, ids: readonly string[], work: (id: string) => Promise<string>): Promise<number> {
  let exitCode = 0
  for (const id of ids) {
    try {
      context.streams.stdout.write(`${await work(id)}\n`)
    } catch (e) {
      const { text, code } = describeFailure(e)
      context.streams.stderr.write(text)
      exitCode = code
    }
  }
  return exitCode
}
