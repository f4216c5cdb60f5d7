import { spawn } from 'node:child_process'
import { dirname, join } from 'node:path'
import { Fault } from '../../base/fault.ts'
import type { NodeCheck, NodeHealthAnswer, NodeTop } from '../../sdk/operator-messages.ts'
import { showBytes } from '../amounts.ts'
import { type CommonOptions, type Context, wantsColour, widthOf, writeOut } from '../context.ts'
import { type Paint, paintWith } from '../output/colour.ts'
import { renderFacts, renderTable } from '../output/table.ts'
import { shortId } from '../output/task.ts'
import { atHome, noAgent } from './at-home.ts'

/** The exit codes of Nagios' plug-ins: any monitoring can call `hearth node health`. */
const exitCodes: Readonly<Record<string, number>> = { OK: 0, WARNING: 1, FAILURE: 2, UNKNOWN: 3 }

/** Of this host by its agent, or without it by the same program that the agent uses; of another node by the master. */
export async function nodeHealth(context: Context, node: string | undefined, options: CommonOptions): Promise<number> {
  const answer = await askHealth(context, node, options)
  const { stdout } = context.streams
  if (options.json === true) await writeOut(stdout, `${JSON.stringify(answer, null, 2)}\n`)
  else await writeOut(stdout, describeHealth(answer, paintWith(wantsColour(stdout, context.env)), widthOf(stdout)))
  return exitCodes[answer.verdict] ?? 3
}

async function askHealth(context: Context, node: string | undefined, options: CommonOptions): Promise<NodeHealthAnswer> {
  if (node !== undefined) return await context.client(options).nodes.health(node, context.signal)
  return await atHome(
    context,
    options,
    (agent) => agent.health(context.signal),
    async (why) => {
      const { checks } = (await runHealthProgram(context, options, 'all')) as Pick<NodeHealthAnswer, 'checks'>
      return { verdict: 'FAILURE', checks: [agentAway(why), ...checks] }
    }
  )
}

const agentAway = (why: string): NodeCheck => ({
  kind: 'agent',
  subject: '',
  verdict: 'FAILURE',
  reason: `no agent answers: ${why}`,
  remedy: 'start it: systemctl start hearth-agent, or sudo hearth up; what follows was looked at without it'
})

export async function nodeTop(context: Context, node: string | undefined, options: CommonOptions): Promise<number> {
  const top = await askTop(context, node, options)
  const { stdout } = context.streams
  if (options.json === true) await writeOut(stdout, `${JSON.stringify(top, null, 2)}\n`)
  else await writeOut(stdout, describeTop(top, widthOf(stdout)))
  return 0
}

async function askTop(context: Context, node: string | undefined, options: CommonOptions): Promise<NodeTop> {
  if (node !== undefined) return await context.client(options).nodes.top(node, context.signal)
  return await atHome(
    context,
    options,
    (agent) => agent.top(context.signal),
    async () => (await runHealthProgram(context, options, 'top')) as NodeTop
  )
}

/** Prometheus text; only an agent counts, so without one there is none. */
export async function nodeMetrics(context: Context, node: string | undefined, options: CommonOptions): Promise<number> {
  const text =
    node === undefined
      ? await atHome(context, options, (agent) => agent.metrics(context.signal), noAgent)
      : await context.client(options).nodes.metrics(node, context.signal)
  for await (const chunk of text) await writeOut(context.streams.stdout, chunk)
  return 0
}

/** The program that the agent itself runs for its checks, with the settings of this shell. */
async function runHealthProgram(context: Context, options: CommonOptions, verb: 'all' | 'top'): Promise<unknown> {
  if (process.getuid?.() !== 0) throw new Fault('denied', 'no agent answers, and only root can look without it; try sudo')
  const { stateDir } = context.settings(options)
  const program = join(dirname(process.argv[1] ?? ''), 'health.cjs')
  // The program ends with its standard input: it does not outlive us.
  const child = spawn(process.execPath, [program, verb, '0', '--state-dir', stateDir], {
    env: { ...context.env },
    stdio: ['pipe', 'pipe', 'pipe']
  })
  const stop = (): void => void child.kill('SIGKILL')
  context.signal.addEventListener('abort', stop, { once: true })
  const [output, complaint] = [gather(child.stdout), gather(child.stderr)]
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', resolve)
    })
    context.signal.throwIfAborted()
    if (code === 0) return JSON.parse(output()) as unknown
    throw new Fault('unavailable', `the checks could not be made: ${complaint().trim() || `${program} ended with ${code}`}`)
  } finally {
    context.signal.removeEventListener('abort', stop)
  }
}

function gather(stream: NodeJS.ReadableStream): () => string {
  const chunks: Buffer[] = []
  stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  return () => Buffer.concat(chunks).toString('utf8')
}

/** `DISK /var/lib/hearth  FAILURE  1 MiB of ...`, the worst first; what to do about it stands below. */
export function describeHealth(answer: NodeHealthAnswer, paint: Paint, width: number | undefined): string {
  const { verdict, checks } = answer
  const count = (wanted: string): number => checks.filter((check) => check.verdict === wanted).length
  const counts = ['FAILURE', 'WARNING', 'UNKNOWN', 'OK'].filter((word) => count(word) > 0).map((word) => `${count(word)} ${word}`)
  const head = `${colourOf(paint, verdict, verdict)}: ${counts.join(', ')}\n\n`
  const table = renderTable<NodeCheck>(
    [
      { title: 'CHECK', value: nameOf },
      { title: 'VERDICT', value: (check) => check.verdict, colour: (text, check) => colourOf(paint, check.verdict, text) },
      { title: 'REASON', value: (check) => check.reason, shrinks: true }
    ],
    checks,
    width
  )
  const wrong = checks.filter((check) => check.verdict !== 'OK' && check.remedy !== '')
  const remedies =
    wrong.length === 0 ? '' : `\nWhat to do\n${renderFacts(wrong.map((check) => [`  ${nameOf(check)}`, check.remedy]))}`
  return `${head}${table}${remedies}`
}

const nameOf = ({ kind, subject }: NodeCheck): string => (subject === '' ? kind : `${kind} ${subject}`)

function colourOf(paint: Paint, verdict: string, text: string): string {
  if (verdict === 'OK') return paint('green', text)
  return paint(verdict === 'FAILURE' ? 'red' : 'yellow', text)
}

export function describeTop({ node, tasks }: NodeTop, width: number | undefined): string {
  const percent = (n: number | null): string => (n === null ? '?' : `${n.toFixed(1)} %`)
  const bytes = (n: number | null): string => (n === null ? '?' : showBytes(n))
  const { cpu, memory, io } = node.pressure
  const head =
    `node: CPU ${percent(node.cpuPercent)} of ${node.cpus}, load ${node.load1 ?? '?'}, ` +
    `memory ${bytes(node.memoryBytes)} of ${bytes(node.memoryTotalBytes)}, ` +
    `pressure cpu ${percent(cpu)} memory ${percent(memory)} io ${percent(io)}, tasks ${tasks.length}\n`
  const table = renderTable<NodeTop['tasks'][number]>(
    [
      { title: 'TASK', value: (task) => shortId(task.taskId) },
      { title: 'NAME', value: (task) => task.name, shrinks: true },
      { title: 'STATE', value: (task) => task.state },
      { title: 'CPU', value: (task) => percent(task.cpuPercent), align: 'right' },
      { title: 'MEMORY', value: (task) => bytes(task.memoryBytes), align: 'right' },
      { title: 'PIDS', value: (task) => String(task.pids ?? '?'), align: 'right' },
      { title: 'DISK', value: (task) => bytes(task.diskBytes), align: 'right' },
      { title: 'RESTARTS', value: (task) => String(task.restarts), align: 'right' }
    ],
    tasks,
    width
  )
  return `${head}\n${table}`
}
