import { CommanderError } from 'commander'
import { errnoOf } from '../base/fault.ts'
import { type Context, createContext, type Environment, OutputClosed } from './context.ts'
import { describeFailure, outputClosedExit, usageExit } from './failure.ts'
import { buildProgram } from './program.ts'

/** The process around one command; resolves with the exit code. */
export async function main(argv: readonly string[], env: Environment): Promise<number> {
  // Getters: touching process.stdin makes a stream that most commands never need.
  const streams = {
    get stdin() {
      return process.stdin
    },
    get stdout() {
      return process.stdout
    },
    get stderr() {
      return process.stderr
    }
  }
  const closed = new AbortController()
  process.stdout.on('error', (e) => {
    if (errnoOf(e) !== 'EPIPE') throw e
    process.exitCode = outputClosedExit // `hearth task list | head -1`, where the command is over already
    closed.abort(new OutputClosed('nobody reads standard output any more'))
  })
  const code = await runCommand(argv, createContext(env, streams, closed.signal))
  return closed.signal.aborted ? outputClosedExit : code
}

export async function runCommand(argv: readonly string[], context: Context): Promise<number> {
  let exitCode = 0
  const program = buildProgram(context, (code) => {
    exitCode = code
  })
  try {
    await program.parseAsync(argv, { from: 'user' })
    return exitCode
  } catch (e) {
    if (e instanceof CommanderError) return e.exitCode === 0 ? 0 : usageExit
    const { text, code } = describeFailure(context.signal.aborted ? context.signal.reason : e)
    context.streams.stderr.write(text)
    return code
  }
}
