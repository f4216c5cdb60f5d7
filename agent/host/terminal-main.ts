import { Fault, isFault } from '../../base/fault.ts'
import { channels } from '../../proto/stream-frame.ts'
import { parseJson, readFrames } from './frame-input.ts'
import { faultFrame } from './frame-output.ts'
import { attachToConmon } from './terminal-attach.ts'
import { execOnTerminal } from './terminal-exec.ts'
import { TerminalOutput } from './terminal-output.ts'

/**
 * The short-lived program behind one terminal: `terminal exec` or `terminal attach`. It alone loads native add-ons, so that a
 * fault in one costs one terminal and never the agent. It speaks stream frames on standard input and output: the first one in
 * is `open` with its order, the first one out `progress` when connected, the last one `end`. Its input's end, and so the
 * agent's death, makes it hang up.
 */
export async function main(argv: readonly string[]): Promise<void> {
  const input = readFrames(process.stdin)
  const output = new TerminalOutput()
  try {
    const first = await input.next()
    if (first.done === true || first.value.channel !== channels.open) throw new Fault('invalid', 'the first frame must be open')
    const order = parseJson(first.value.data)
    if (argv[0] === 'exec') await execOnTerminal(order, input, output)
    else if (argv[0] === 'attach') await attachToConmon(order, input, output)
    else throw new Fault('invalid', 'usage: terminal exec|attach')
  } catch (e) {
    if (!isFault(e)) throw e
    await output.finish(faultFrame(e))
  }
  process.exit(0)
}
