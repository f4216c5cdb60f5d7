import { isFault } from '../../base/fault.ts'
import type { OperatorClient } from '../../sdk/operator-client.ts'
import type { Task } from '../../sdk/operator-messages.ts'
import type { StreamEnding } from '../../sdk/stream.ts'
import type { Context } from '../context.ts'
import { type Ending, outcomeOf } from '../exit-code.ts'
import { describeFailure, usage } from '../failure.ts'
import { onInterrupts } from '../interrupts.ts'
import { copyParts } from '../output/stream-copy.ts'
import { buildTaskRequest, type RunOptions } from '../task-request.ts'

/** For the last request of a command whose output nobody reads any more. */
const goodbyeMs = 5_000

/** Foreground: the program's output is ours byte for byte, and its exit code too. */
export async function runTask(
  context: Context,
  image: string | undefined,
  command: readonly string[],
  options: RunOptions
): Promise<number> {
  if (image === undefined) throw usage('name an image to run, such as host, or a pod’s file with --pod')
  const client = context.client(options)
  const { stdin, stdout } = context.streams
  const attached = options.detach !== true && (options.interactive === true || options.tty === true)
  const request = {
    ...buildTaskRequest(image, command, options, context.env),
    ...(options.tty === true ? { rows: stdout.rows ?? 24, columns: stdout.columns ?? 80 } : {})
  }
  if (attached && options.tty === true && stdin.isTTY !== true) {
    throw usage('-t needs a terminal on standard input; use -i alone for a pipe')
  }
  const task = await client.tasks.run(request, context.signal)
  if (options.detach === true) {
    stdout.write(`${task.taskId}\n`)
    return tellStart(context, await client.tasks.waitStarted(task.taskId, context.signal))
  }
  try {
    return await (attached ? runAttached(context, client, task, options) : runWatched(context, client, task))
  } catch (e) {
    if (context.signal.aborted) await endUnread(client, task)
    throw e
  }
}

/** `hearth task run host yes | head -1`: without a reader the program would go on for nobody. */
async function endUnread(client: OperatorClient, task: Task): Promise<void> {
  try {
    await client.tasks.kill(task.taskId, {}, AbortSignal.timeout(goodbyeMs))
  } catch {
    // It has ended, or there is no master: either way nobody is left to be told.
  }
}

/** A task that never ran is a failed command, even for who did not want to wait for its end. */
function tellStart(context: Context, task: Task): number {
  const { stderr } = context.streams
  if (task.state === 'staging' || task.state === 'starting' || task.state === 'unknown')
    stderr.write(`hearth: ${task.taskId} waits: ${task.message ?? ''}\n`)
  if (task.state === 'running' && task.message !== null) stderr.write(`hearth: ${task.message}\n`)
  if (task.startedAtMs !== null || task.state !== 'failed') return 0
  const { code, sentence } = outcomeOf(task)
  if (sentence !== undefined && sentence !== '') stderr.write(`hearth: ${sentence}\n`)
  return code
}

async function runAttached(context: Context, client: OperatorClient, task: Task, options: RunOptions): Promise<number> {
  const { holdRun, windowSize } = await import('../session.ts')
  const session = holdRun(context, {
    open: windowSize(context, options.tty === true),
    terminal: options.tty === true,
    withInput: options.interactive === true,
    detachHint: detachHint(task),
    output: (signal) => client.tasks.logs(task.taskId, { follow: true }, signal),
    interrupt: (signal) => endByInterrupt(context, client, task, signal),
    connect: (input, signal) => client.tasks.duplex(task.taskId, 'attach', input, signal)
  })
  const ending = await session.catch(neverLaunched)
  return ending === 'detached' ? 0 : conclude(context, client, task, ending)
}

async function runWatched(context: Context, client: OperatorClient, task: Task): Promise<number> {
  const detach = new AbortController()
  const release = onInterrupts({
    first: (signal) => endByInterrupt(context, client, task, signal),
    second: () => detach.abort()
  })
  try {
    const logs = client.tasks.logs(task.taskId, { follow: true }, AbortSignal.any([context.signal, detach.signal]))
    const ending = await logs.then((parts) => copyParts(context, parts)).catch(neverLaunched)
    return await conclude(context, client, task, ending)
  } catch (e) {
    if (!detach.signal.aborted) throw e
    context.streams.stderr.write(`hearth: ${detachHint(task)}\n`)
    return 130
  } finally {
    release()
  }
}

/** A task that its node refused has no log there; the master tells how it ended. */
function neverLaunched(e: unknown): StreamEnding {
  if (isFault(e, 'not-found')) return {}
  throw e
}

/** Where even that fails the task has ended, or the next Ctrl-C detaches. */
function endByInterrupt(context: Context, client: OperatorClient, task: Task, signal: string): void {
  client.tasks.kill(task.taskId, { signal }, context.signal).catch((e: unknown) => {
    if (!isFault(e, 'not-found')) context.streams.stderr.write(describeFailure(e).text)
  })
}

/** The stream's last frame tells how the task ended; where it does not, the master knows. */
async function conclude(context: Context, client: OperatorClient, task: Task, ending: StreamEnding): Promise<number> {
  const end: Ending = ending.status ?? (await client.tasks.wait(task.taskId, context.signal))
  const { code, sentence } = outcomeOf(end)
  if (sentence !== undefined && sentence !== '') context.streams.stderr.write(`hearth: ${sentence}\n`)
  if (task.removeWhenDone) await removeQuietly(client, task, context.signal)
  return code
}

/** `--rm` is the master's business too, so the task may be gone already. */
async function removeQuietly(client: OperatorClient, task: Task, signal: AbortSignal): Promise<void> {
  try {
    await client.tasks.remove(task.taskId, true, signal)
  } catch (e) {
    if (!isFault(e, 'not-found') && !isFault(e, 'conflict')) throw e
  }
}

const detachHint = (task: Task): string =>
  `detached; the task runs on: hearth task attach ${task.name || task.taskId}, hearth task kill ${task.name || task.taskId}`
