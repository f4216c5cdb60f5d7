import { isFault } from '../../base/fault.ts'
import type { CommonOptions, Context } from '../context.ts'
import { outcomeOf } from '../exit-code.ts'
import { describeFailure, usage } from '../failure.ts'
import { holdSession, windowSize } from '../session.ts'
import { parseVariables, uniteVariables, wholeTexts, withoutSeparator } from '../task-request.ts'

interface ExecOptions extends CommonOptions {
  readonly interactive?: boolean
  readonly tty?: boolean
  readonly env?: readonly string[]
  readonly workdir?: string
  readonly user?: string
}

export async function execInTask(
  context: Context,
  id: string,
  command: readonly string[],
  options: ExecOptions
): Promise<number> {
  const { stdin, stdout } = context.streams
  const terminal = options.tty === true
  const words = wholeTexts(withoutSeparator(command))
  if (words.length === 0) throw usage('hearth task exec needs a command to run')
  if (terminal && stdin.isTTY !== true) throw usage('-t needs a terminal on standard input; use -i alone for a pipe')
  const client = context.client(options)
  const session = holdSession(context, {
    open: {
      arguments: words,
      environment: uniteVariables(parseVariables('-e', options.env ?? [], context.env)),
      workingDirectory: options.workdir ?? '',
      user: options.user ?? '',
      terminal,
      openStdin: options.interactive === true,
      rows: stdout.rows ?? 24,
      columns: stdout.columns ?? 80
    },
    terminal,
    withInput: options.interactive === true,
    detachHint: 'detached; the program runs on in the container',
    connect: (input, signal) => client.tasks.duplex(id, 'exec', input, signal)
  })
  const ending = await session.catch((e: unknown) => neverStarted(context, e))
  return ending === 'detached' ? 130 : (ending.exitCode ?? 125)
}

/** A program that is not there or cannot be executed ends as in a shell and in docker: the node says with which code. */
function neverStarted(context: Context, e: unknown): { readonly exitCode: number } {
  const exitCode = isFault(e, 'invalid') ? e.detail['exitCode'] : undefined
  if (typeof exitCode !== 'number') throw e
  context.streams.stderr.write(describeFailure(e).text)
  return { exitCode }
}

interface AttachOptions extends CommonOptions {
  readonly stdin?: boolean
}

export async function attachToTask(context: Context, id: string, options: AttachOptions): Promise<number> {
  const client = context.client(options)
  const { stdin } = context.streams
  const withInput = options.stdin !== false
  const ending = await holdSession(context, {
    open: windowSize(context, withInput && stdin.isTTY === true),
    terminal: withInput && stdin.isTTY === true,
    withInput,
    detachHint: `detached; the task runs on: hearth task attach ${id}, hearth task kill ${id}`,
    connect: (input, signal) => client.tasks.duplex(id, 'attach', input, signal)
  })
  if (ending === 'detached') return 0
  const { code, sentence } = outcomeOf(ending.status ?? (await client.tasks.wait(id, context.signal)))
  if (sentence !== undefined) context.streams.stderr.write(`hearth: ${sentence}\n`)
  return code
}
