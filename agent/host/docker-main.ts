import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Fault, isFault } from '../../base/fault.ts'
import { type Engine, loadEngine } from '../../isolators/runtime/docker/engine.ts'
import { channels } from '../../proto/stream-frame.ts'
import { plainExec } from './docker-exec.ts'
import { attachToDocker, terminalExec } from './docker-terminal.ts'
import { parseJson, readFrames } from './frame-input.ts'
import { faultFrame } from './frame-output.ts'
import { TerminalOutput } from './terminal-output.ts'

const engineFile = join(dirname(fileURLToPath(import.meta.url)), 'docker-engine.cjs')

/**
 * The short-lived program between Docker's API and what the agent does with containers of every runtime:
 *
 *   docker SOCKET exec --pid-file FILE --process FILE CONTAINER    as runc takes it
 *   docker SOCKET exec | attach                                    stream frames, as terminal-main.ts takes them
 *   docker SOCKET list LABEL | remove NAME                         for fsck
 */
export async function main(argv: readonly string[]): Promise<number> {
  const [socketPath = '', mode = '', ...rest] = argv
  const engine = await loadEngine(engineFile, socketPath)
  try {
    if (mode === 'list') return await list(engine, rest[0] ?? '')
    if (mode === 'remove') {
      await engine.remove(rest[0] ?? '', true)
      return 0
    }
    if (mode === 'exec' && rest.length > 0) return await plainExec(engine, rest)
    if (mode === 'exec' || mode === 'attach') return await framed(engine, mode)
    throw new Fault('invalid', 'usage: docker SOCKET exec|attach|list|remove')
  } catch (e) {
    if (!isFault(e)) throw e
    process.stderr.write(`${e.message}\n`)
    return 126
  }
}

async function list(engine: Engine, label: string): Promise<number> {
  for (const { name, state } of await engine.list(label)) process.stdout.write(`${JSON.stringify({ name, state })}\n`)
  return 0
}

async function framed(engine: Engine, mode: 'exec' | 'attach'): Promise<number> {
  const input = readFrames(process.stdin)
  const output = new TerminalOutput()
  const gone = new AbortController()
  process.on('SIGHUP', () => gone.abort())
  try {
    const first = await input.next()
    if (first.done === true || first.value.channel !== channels.open) throw new Fault('invalid', 'the first frame must be open')
    const order = parseJson(first.value.data)
    const run = mode === 'exec' ? terminalExec : attachToDocker
    await run(engine, order, input, output, gone.signal)
  } catch (e) {
    if (!isFault(e)) throw e
    await output.finish(faultFrame(e))
  }
  return process.exit(0)
}
