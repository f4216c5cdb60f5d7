import { readFileSync } from 'node:fs'
import { parse, YAMLParseError } from 'yaml'
import { errnoOf, Fault } from '../../base/fault.ts'
import type { OperatorClient } from '../../sdk/operator-client.ts'
import type { Task } from '../../sdk/operator-messages.ts'
import type { Context } from '../context.ts'
import { outcomeOf } from '../exit-code.ts'
import { describeFailure, usage } from '../failure.ts'
import { onInterrupts } from '../interrupts.ts'
import type { RunOptions } from '../task-request.ts'

export interface PodOptions extends RunOptions {
  readonly pod?: string
}

type FromFile = PodOptions & { readonly pod: string }

/** What the command line may say of a pod; all else is the file's. */
const ownOptions: ReadonlySet<string> = new Set(['pod', 'rm', 'detach', 'role', 'stateDir', 'json'])
const largestFileBytes = 4 * 1024 ** 2

/** Foreground: waits until every container has ended; the exit code is that of the first main one that did not end well. */
export async function runPod(context: Context, image: string | undefined, options: FromFile): Promise<number> {
  if (image !== undefined) throw usage(`--pod takes images and programs from its file: leave ${image} out`)
  const stray = Object.entries(options).find(([name, value]) => value !== undefined && !ownOptions.has(name))
  if (stray !== undefined) throw usage(`with --pod the file says it all: write ${stray[0]} there`)
  const client = context.client(options)
  const { stdout, stderr } = context.streams
  const tasks = await client.tasks.runPod(requestOf(options), context.signal)
  for (const { taskId } of tasks) stdout.write(`${taskId}\n`)
  if (options.detach === true) return 0
  const detach = new AbortController()
  const [first] = tasks
  const release = onInterrupts({
    first: (signal) => {
      if (first === undefined) return
      client.tasks.kill(first.taskId, { signal }, context.signal).catch((e: unknown) => stderr.write(describeFailure(e).text))
    },
    second: () => detach.abort()
  })
  try {
    return await untilEnded(context, client, tasks, AbortSignal.any([context.signal, detach.signal]))
  } catch (e) {
    if (!detach.signal.aborted) throw e
    stderr.write(`hearth: detached; the pod runs on: hearth task kill ${first?.taskId ?? ''} ends it\n`)
    return 130
  } finally {
    release()
  }
}

async function untilEnded(
  context: Context,
  client: OperatorClient,
  tasks: readonly Task[],
  signal: AbortSignal
): Promise<number> {
  const ends = await Promise.all(
    tasks.map(async ({ taskId }) => {
      const end = await client.tasks.wait(taskId, signal)
      const why = end.message === null ? '' : `: ${end.message}`
      context.streams.stderr.write(`hearth: ${taskId} ${end.state}${why}\n`)
      return end
    })
  )
  const bad = ends.filter((end) => end.state !== 'finished' && end.part !== 'sidecar')
  // Who brought the pod to its end comes before those that ended with it.
  const worst = bad.find((end) => end.reason !== 'pod_ended') ?? bad[0]
  return worst === undefined ? 0 : outcomeOf(worst).code || 1
}

/** The file is the request; only what the command line says of the whole pod stands above it. */
function requestOf(options: FromFile): unknown {
  const told: unknown = parsed(options.pod, textOf(options.pod))
  if (typeof told !== 'object' || told === null || Array.isArray(told))
    throw new Fault('invalid', `${options.pod} describes no pod: it needs a name and containers, as docs/pods.md shows`)
  const { rm, role } = options
  return { ...told, ...(rm === true ? { removeWhenDone: true } : {}), ...(role === undefined ? {} : { role }) }
}

function textOf(path: string): string {
  try {
    const bytes = readFileSync(path)
    if (bytes.length > largestFileBytes)
      throw new Fault('invalid', `${path} has ${bytes.length} bytes: that is no description of a pod`)
    return bytes.toString('utf8')
  } catch (e) {
    if (errnoOf(e) === 'ENOENT') throw new Fault('not-found', `there is no file ${path}`)
    if (errnoOf(e) === 'EISDIR') throw new Fault('invalid', `${path} is a folder: name the file that describes the pod`)
    throw e
  }
}

/** JSON is YAML too (YAML 1.2). */
function parsed(path: string, text: string): unknown {
  try {
    return parse(text, { maxAliasCount: 100, uniqueKeys: true })
  } catch (e) {
    if (!(e instanceof YAMLParseError) && !(e instanceof ReferenceError)) throw e
    const [line = ''] = e.message.split('\n', 1)
    throw new Fault('invalid', `${path} is neither YAML nor JSON: ${line.replace(/:$/, '')}`)
  }
}
