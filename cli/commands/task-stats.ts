import { isFault } from '../../base/fault.ts'
import type { OperatorClient } from '../../sdk/operator-client.ts'
import type { TaskDetails, TaskStats } from '../../sdk/operator-messages.ts'
import { parseDuration, showBytes, showCpus } from '../amounts.ts'
import { type CommonOptions, type Context, widthOf, writeOut } from '../context.ts'
import { renderFacts, renderTable } from '../output/table.ts'
import { shortId } from '../output/task.ts'

/** What tasks use and wait for, one after the other. */
export async function taskStats(context: Context, ids: readonly string[], options: CommonOptions): Promise<number> {
  const { tasks } = context.client(options)
  const { stdout } = context.streams
  const all = await Promise.all(ids.map((id) => tasks.stats(id, context.signal)))
  if (options.json === true) await writeOut(stdout, `${JSON.stringify({ tasks: all }, null, 2)}\n`)
  else await writeOut(stdout, all.map(describeDetails).join('\n'))
  return 0
}

const percent = (n: number | null): string => (n === null ? '?' : `${n.toFixed(1)} %`)
const bytes = (n: number | null): string => (n === null ? '?' : showBytes(n))
const ofLimit = (used: string, limit: string | undefined): string => (limit === undefined ? used : `${used} of ${limit}`)
const pressureOf = ({ pressure: { cpu, memory, io } }: TaskStats): string =>
  `cpu ${percent(cpu)}, memory ${percent(memory)}, io ${percent(io)}`

export function describeDetails(task: TaskDetails): string {
  const { limits, usage } = task
  const cpus = limits.milliCpu === 0 ? undefined : `${showCpus(limits.milliCpu)} CPUs`
  const { cacheBytes } = usage['cgroup'] ?? {}
  const cached = cacheBytes === undefined ? '' : `, ${showBytes(cacheBytes)} of it copies of files`
  const memory = ofLimit(bytes(task.memoryBytes), limits.memoryBytes === 0 ? undefined : showBytes(limits.memoryBytes))
  const disk = usage['disk']?.['diskBytes']
  const others = Object.entries(usage).filter(([name]) => name !== 'cgroup' && name !== 'disk')
  return renderFacts([
    ['Task', `${task.name || task.taskId} (${task.state})`],
    ['CPU', ofLimit(percent(task.cpuPercent), cpus)],
    ['Memory', `${memory}${cached}`],
    ['Processes', ofLimit(String(task.pids ?? '?'), String(limits.pidsMax))],
    ...(disk === undefined
      ? []
      : [['Disk', ofLimit(showBytes(disk), limits.diskBytes === 0 ? undefined : showBytes(limits.diskBytes))] as const]),
    ['Waited for', `${pressureOf(task)} of the last 10 s`],
    ...others.map(
      ([name, of]) =>
        [
          name,
          Object.entries(of)
            .map(([key, value]) => `${key} ${value}`)
            .join(', ')
        ] as const
    )
  ])
}

interface TopOptions extends CommonOptions {
  readonly every?: string
  readonly once?: boolean
}

/** All tasks of the cluster, the busiest first; again and again on a terminal, else once. */
export async function taskTop(context: Context, options: TopOptions): Promise<number> {
  const client = context.client(options)
  const everyMs = parseDuration('--every', options.every ?? '2s')
  const { stdout } = context.streams
  const goesOn = stdout.isTTY === true && options.once !== true && options.json !== true
  for (;;) {
    const { tasks, away } = await sampleAll(client, context.signal)
    if (options.json === true) await writeOut(stdout, `${JSON.stringify({ tasks, away }, null, 2)}\n`)
    else await writeOut(stdout, `${goesOn ? '\x1b[H\x1b[J' : ''}${describeTasks(tasks, away, widthOf(stdout))}`)
    if (!goesOn) return 0
    await pause(everyMs, context.signal)
  }
}

type Row = TaskStats & { readonly node: string }

async function sampleAll(
  { nodes }: OperatorClient,
  signal: AbortSignal
): Promise<{ readonly tasks: readonly Row[]; readonly away: readonly string[] }> {
  const all = (await nodes.list(signal)).filter((node) => node.condition !== 'agent_gone')
  const away: string[] = []
  const rows = await Promise.all(
    all.map(async ({ nodeId, hostname }) => {
      try {
        return (await nodes.stats(nodeId, signal)).map((task): Row => ({ ...task, node: hostname }))
      } catch (e) {
        if (!isFault(e)) throw e
        away.push(hostname)
        return []
      }
    })
  )
  const weight = (row: Row): number => row.cpuPercent ?? 0
  return { tasks: rows.flat().sort((a, b) => weight(b) - weight(a) || (b.memoryBytes ?? 0) - (a.memoryBytes ?? 0)), away }
}

export function describeTasks(tasks: readonly Row[], away: readonly string[], width: number | undefined): string {
  const table = renderTable<Row>(
    [
      { title: 'TASK', value: (task) => shortId(task.taskId) },
      { title: 'NODE', value: (task) => task.node, shrinks: true },
      { title: 'STATE', value: (task) => task.state },
      { title: 'CPU', value: (task) => percent(task.cpuPercent), align: 'right' },
      { title: 'MEMORY', value: (task) => bytes(task.memoryBytes), align: 'right' },
      { title: 'PIDS', value: (task) => String(task.pids ?? '?'), align: 'right' },
      { title: 'WAITED: CPU', value: (task) => percent(task.pressure.cpu), align: 'right' },
      { title: 'MEMORY', value: (task) => percent(task.pressure.memory), align: 'right' },
      { title: 'IO', value: (task) => percent(task.pressure.io), align: 'right' }
    ],
    tasks,
    width
  )
  return away.length === 0 ? table : `${table}no answer from ${away.join(', ')}\n`
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms)
    signal.addEventListener(
      'abort',
      () => {
        clearTimeout(timer)
        reject(signal.reason as Error)
      },
      { once: true }
    )
  })
}
