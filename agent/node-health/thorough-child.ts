import { type ChildProcessByStdio, spawn } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import { errnoOf, Fault } from '../../base/fault.ts'
import { tame } from './checks/words.ts'
import { type Check, rowsOf, type Verdict } from './verdict.ts'

interface Config {
  /** The command line of health-main.ts, bundled. */
  readonly program: readonly string[]
  /** The agent's own arguments: the child reads the same settings. */
  readonly settings: readonly string[]
}

const deadlineMs = 90_000
const mostOutputBytes = 1024 * 1024

/**
 * Runs the health program with one verb and gives its line of JSON. It ends with its standard input: when this process dies,
 * however it does, the child and the checks it runs end too. Throws `Fault` where it fails or takes longer than 90 s.
 */
export async function askChild(config: Config, verb: string, turn: number, signal: AbortSignal): Promise<unknown> {
  const child = start(config, [verb, String(turn)])
  const [output, complaint] = [collect(child.stdout), collect(child.stderr)]
  child.stdin.on('error', () => undefined) // it has ended: told below
  const stop = (): void => void child.stdin.destroy()
  const timer = setTimeout(() => child.kill('SIGKILL'), deadlineMs)
  signal.addEventListener('abort', stop, { once: true })
  if (signal.aborted) stop()
  return await new Promise((resolve, reject) => {
    const fail = (why: string, cause?: unknown): void => reject(notMade(why, cause))
    child.once('error', (e) => fail(e.message, e))
    child.once('close', (code, name) => {
      clearTimeout(timer)
      signal.removeEventListener('abort', stop)
      if (code !== 0) return fail(complaint() || `the program ended with ${name ?? code}`)
      try {
        resolve(JSON.parse(output()))
      } catch (cause) {
        fail('the program said something that is not JSON', cause)
      }
    })
  })
}

/** `spawn` throws where the host cannot make one process more; that is a row, not the agent's end. */
function start({ program, settings }: Config, order: readonly string[]): ChildProcessByStdio<Writable, Readable, Readable> {
  const [file = '', ...before] = program
  try {
    return spawn(file, [...before, ...order, ...settings], { stdio: ['pipe', 'pipe', 'pipe'] })
  } catch (e) {
    if (errnoOf(e) === undefined) throw e
    throw notMade((e as Error).message, e)
  }
}

const notMade = (why: string, cause: unknown): Fault =>
  new Fault('unavailable', `the checks that need programs could not be made: ${tame(why, 200)}`, {}, cause)

function collect(stream: NodeJS.ReadableStream): () => string {
  const chunks: Buffer[] = []
  let bytes = 0
  stream.on('data', (chunk: Buffer) => {
    if (bytes < mostOutputBytes) chunks.push(chunk)
    bytes += chunk.length
  })
  return () => Buffer.concat(chunks).toString('utf8')
}

/** What the child said, row by row; anything that is no row is left out. A child that fails is a row itself. */
export async function thoroughChecks(config: Config, turn: number, signal: AbortSignal): Promise<readonly Check[]> {
  try {
    return checksOf(await askChild(config, 'thorough', turn, signal))
  } catch (e) {
    if (!(e instanceof Fault)) throw e
    return [rowsOf('health').unknown(e.message, 'run hearth node health by hand, and see the agent’s log')]
  }
}

const verdicts: readonly string[] = ['OK', 'WARNING', 'FAILURE', 'UNKNOWN'] satisfies readonly Verdict[]

export function checksOf(answer: unknown): readonly Check[] {
  const { checks } = (typeof answer === 'object' && answer !== null ? answer : {}) as { readonly checks?: unknown }
  if (!Array.isArray(checks)) throw new Fault('corrupt', 'the health program answered without checks')
  return checks.filter(isCheck)
}

function isCheck(row: unknown): row is Check {
  if (typeof row !== 'object' || row === null) return false
  const { kind, subject, verdict, reason, remedy } = row as Readonly<Record<string, unknown>>
  return [kind, subject, reason, remedy].every((text) => typeof text === 'string') && verdicts.includes(String(verdict))
}
