import { type ChildProcess, spawn } from 'node:child_process'
import { appendFileSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Fault } from '../../base/fault.ts'
import type { Bench, Outcome } from './bench.ts'
import { processCpuMs } from './machine.ts'
import { findNode24 } from './node24.ts'
import { end } from './programs.ts'
import { type Goal, judged, type Row, ratio, withRatios } from './report.ts'
import { renderStart } from './start-trace.ts'
import { median, percentile, rounded } from './statistics.ts'

const patienceMs = 60_000

export interface Start {
  readonly ms: number
  /** Of the process alone, until it said that it had started; in steps of 10 ms. */
  readonly cpuMs: number
  /** What the agent itself tells of its start: milliseconds after the process began, by stage. */
  readonly stages?: Readonly<Record<string, number>>
}

/**
 * From fork to `agent.started` with an empty ledger, against `node -e 0` of the same run.
 * The state directory is new each time; the machine code of an earlier start is there, as it is from the second start of a version on.
 */
export async function agentStart(bench: Bench): Promise<Outcome> {
  const rows: Row[] = []
  const goals: Goal[] = []
  const notes = [
    'CPU ms each: of the agent’s own process until it said that it had started, without its probes of runc, crun and conmon.'
  ]
  for (const [name, node] of [
    ['Node 20', process.execPath],
    ['Node 24', await findNode24(bench.root)]
  ] as const) {
    const wish = { name: `empty start, ${name}`, unit: 'x node -e 0', bound: 'at most', goal: 2.5 } as const
    if (node === undefined) {
      goals.push(judged(wish, undefined, `${name} is not there`))
      continue
    }
    const measured = await emptyStarts(bench, node, name)
    rows.push(...measured.rows)
    notes.push(measured.trace)
    if (bench.trace) notes.push('', `${name}: ${await traced(bench, node)}`)
    goals.push(judged(wish, ratio(measured.rows[1]?.p50Ms, measured.rows[0]?.p50Ms)))
  }
  return { rows, goals, notes }
}

async function emptyStarts(
  bench: Bench,
  node: string,
  name: string
): Promise<{ readonly rows: readonly Row[]; readonly trace: string }> {
  const program = join(bench.root, 'dist/start-agent.cjs')
  await warm(bench, node, program)
  const bare: Start[] = []
  const agent: Start[] = []
  for (let n = 1; n <= bench.n; n += 1) {
    bench.signal.throwIfAborted()
    bench.progress(`${name}: start ${n} of ${bench.n}`)
    bare.push(await timed(node, ['-e', '0'], undefined))
    const stateDir = freshState(bench, `start-${n}`)
    agent.push(await timed(node, argumentsOf(program, stateDir), 'agent.started'))
    rmSync(stateDir, { recursive: true, force: true })
  }
  const [reference, own] = [rowOf(`node -e 0, ${name}`, bare), rowOf(`agent, ${name}`, agent)]
  return { rows: withRatios([reference, own], reference), trace: traceOf(`agent, ${name}`, agent) }
}

const tracedStarts = 10

/** Some starts more, with a module before the agent that notes where the time goes. */
async function traced(bench: Bench, node: string): Promise<string> {
  const output = join(bench.directory, 'start-trace')
  rmSync(output, { force: true })
  for (let n = 1; n <= tracedStarts; n += 1) {
    bench.signal.throwIfAborted()
    bench.progress(`traced start ${n} of ${tracedStarts}`)
    const stateDir = freshState(bench, `traced-${n}`)
    const hook = ['-r', join(import.meta.dirname, 'start-hook.cjs')]
    const args = [...hook, ...argumentsOf(join(bench.root, 'dist/start-agent.cjs'), stateDir)]
    const stages = (await timed(node, args, 'agent.started', { BENCH_TRACE: output })).stages ?? {}
    appendFileSync(output, `${JSON.stringify({ stages })}\n`)
    rmSync(stateDir, { recursive: true, force: true })
  }
  return renderStart(output)
}

/** The first start of a version on a runtime leaves its machine code behind, some seconds later. */
async function warm(bench: Bench, node: string, program: string): Promise<void> {
  const dist = join(bench.root, 'dist')
  const caches = (): readonly string[] => readdirSync(dist).filter((name) => /^agent-.*\.cache$/.test(name))
  for (const name of caches()) rmSync(join(dist, name))
  const stateDir = freshState(bench, 'warm')
  const child = spawn(node, argumentsOf(program, stateDir), { stdio: 'ignore', env: environment() })
  try {
    const untilMs = performance.now() + patienceMs
    while (caches().length === 0) {
      if (performance.now() > untilMs) throw new Fault('timeout', `the agent leaves no machine code in ${dist}`)
      bench.signal.throwIfAborted()
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  } finally {
    await end(child)
    rmSync(stateDir, { recursive: true, force: true })
  }
}

function freshState(bench: Bench, name: string): string {
  const stateDir = join(bench.folder('starts'), name)
  mkdirSync(stateDir, { recursive: true })
  writeFileSync(join(stateDir, 'agent-token'), 'bench\n')
  return stateDir
}

const argumentsOf = (program: string, stateDir: string): readonly string[] => [
  ...[
    '--max-semi-space-size=1',
    program,
    '--state-dir',
    stateDir,
    '--health-dns',
    'no',
    '--masters',
    `unix:${stateDir}/none.sock`
  ]
]

const environment = (): NodeJS.ProcessEnv => ({ PATH: process.env['PATH'], UV_THREADPOOL_SIZE: '8' })

/** Until the program has said `mark`, which ends it, or has ended by itself. */
function timed(node: string, args: readonly string[], mark: string | undefined, more: NodeJS.ProcessEnv = {}): Promise<Start> {
  const sinceMs = performance.now()
  const child = spawn(node, args, { stdio: ['ignore', 'pipe', 'inherit'], env: { ...environment(), ...more } })
  return startOf(child, mark, sinceMs)
}

function startOf(child: ChildProcess, mark: string | undefined, sinceMs: number): Promise<Start> {
  return new Promise((resolve, reject) => {
    let said = ''
    let start: Start | undefined
    const late = setTimeout(() => child.kill('SIGKILL'), patienceMs)
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      said += text
      if (mark === undefined || start !== undefined || !said.includes(mark)) return
      start = { ms: performance.now() - sinceMs, cpuMs: processCpuMs(child.pid ?? 0), stages: stagesIn(said) }
      child.kill('SIGTERM')
    })
    child.once('error', reject)
    child.once('close', (code) => {
      clearTimeout(late)
      if (mark === undefined && code === 0) resolve({ ms: performance.now() - sinceMs, cpuMs: Number.NaN })
      else if (start !== undefined && code === 0) resolve(start)
      else reject(new Fault('unavailable', `${mark ?? 'node -e 0'}: ended with ${code}: ${said.slice(-400)}`))
    })
  })
}

/** Of the agent's own line about its start. */
export function stagesIn(log: string): Readonly<Record<string, number>> {
  const line = log.split('\n').findLast((l) => l.includes('"agent.started"') && l.endsWith('}'))
  return line === undefined ? {} : (JSON.parse(line) as { readonly stagesMs: Readonly<Record<string, number>> }).stagesMs
}

/** The median moment of each stage. */
export function traceOf(name: string, starts: readonly Start[]): string {
  const stages = Object.keys(starts[0]?.stages ?? {})
  const moments = stages.map((stage) => `${stage} ${median(starts.map((s) => s.stages?.[stage] ?? Number.NaN)).toFixed(0)}`)
  return `${name}, ms after the process began: ${moments.join(', ')}`
}

export function rowOf(name: string, starts: readonly Start[]): Row {
  const ms = starts.map((s) => s.ms)
  const cpu = starts.map((s) => s.cpuMs).filter(Number.isFinite)
  return {
    name,
    n: starts.length,
    p50Ms: rounded(median(ms)),
    p90Ms: rounded(percentile(ms, 0.9)),
    ...(cpu.length === 0 ? {} : { cpuMsEach: rounded(cpu.reduce((a, b) => a + b, 0) / cpu.length) })
  }
}
