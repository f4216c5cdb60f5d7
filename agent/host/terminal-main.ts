import { Fault, isFault } from '../../base/fault.ts'
import { channels } from '../../proto/stream-frame.ts'
import { parseJson, readFrames } from './frame-input.ts'
import { faultFrame } from './frame-output.ts'
import { attachToConmon } from './terminal-attach.ts'
import { execOnTerminal } from './terminal-exec.ts'
import { TerminalOutput } from './terminal-output.ts'

const parentMs = 1_000

/**
 * The short-lived program behind one terminal: `terminal exec` or `terminal attach`. It alone loads native add-ons, so that a
 * fault in one costs one terminal and never the agent. It speaks stream frames on standard input and output: the first one in
 * is `open` with its order, the first one out `progress` when connected, the last one `end`. It hangs up at its input's
 * end, at SIGHUP, and at the agent's death.
 */
export async function main(argv: readonly string[]): Promise<void> {
  const input = readFrames(process.stdin)
  const output = new TerminalOutput()
  const gone = clientGone()
  try {
    const first = await input.next()
    if (first.done === true || first.value.channel !== channels.open) throw new Fault('invalid', 'the first frame must be open')
    const order = parseJson(first.value.data)
    if (argv[0] === 'exec') await execOnTerminal(order, input, output, gone)
    else if (argv[0] === 'attach') await attachToConmon(order, input, output, gone)
    else throw new Fault('invalid', 'usage: terminal exec|attach')
  } catch (e) {
    if (output.isGone) process.exit(0)
    if (!isFault(e)) throw e
    await output.finish(faultFrame(e))
  }
  process.exit(0)
}

/** While a write to the terminal waits, the end of our input goes unseen: SIGHUP and the loss of our parent do not. */
function clientGone(): AbortSignal {
  const controller = new AbortController()
  const parent = process.ppid
  process.on('SIGHUP', () => controller.abort())
  const look = (): void => {
    if (process.ppid !== parent) controller.abort()
  }
  setInterval(look, parentMs).unref()
  return controller.signal
}
