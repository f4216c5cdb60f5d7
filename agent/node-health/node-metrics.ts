import type { Usage } from '../../isolators/isolator.ts'
import type { DiskFacts } from './checks/disk.ts'
import type { MemoryFacts } from './checks/memory.ts'
import type { PressureFacts, Stall } from './checks/pressure.ts'
import type { MetricFamily, MetricSample } from './metrics-text.ts'
import type { TopTask } from './top.ts'
import { type Check, exitCodes, worstOf } from './verdict.ts'

/** What a scrape tells of the node and its tasks. Pure: facts in, families out. */

const gauge = (name: string, help: string, samples: readonly MetricSample[]): MetricFamily => ({
  name,
  type: 'gauge',
  help,
  samples
})
const counter = (name: string, help: string, samples: readonly MetricSample[]): MetricFamily => ({
  name,
  type: 'counter',
  help,
  samples
})
const one = (value: number | undefined): readonly MetricSample[] => (value === undefined ? [] : [{ value }])

export function healthMetrics(checks: readonly Check[]): readonly MetricFamily[] {
  return [
    gauge('hearth_node_health', 'Worst verdict of all checks: 0 OK, 1 WARNING, 2 FAILURE, 3 UNKNOWN.', [
      { value: exitCodes[worstOf(checks)] }
    ]),
    gauge(
      'hearth_node_check',
      'Verdict of one check: 0 OK, 1 WARNING, 2 FAILURE, 3 UNKNOWN.',
      checks.map(({ kind, subject, verdict }) => ({ labels: { kind, subject }, value: exitCodes[verdict] }))
    )
  ]
}

export interface HostMetricFacts {
  readonly memory: MemoryFacts | undefined
  readonly pressure: PressureFacts
  readonly disks: readonly DiskFacts[]
}

export function hostMetrics({ memory, pressure, disks }: HostMetricFacts): readonly MetricFamily[] {
  const stalled = (of: 'some' | 'full'): readonly MetricSample[] =>
    Object.entries(pressure).flatMap(([resource, facts]) => {
      const stall: Stall | undefined = facts?.[of]
      return stall === undefined ? [] : [{ labels: { resource }, value: stall.totalUs / 1e6 }]
    })
  const ofDisks = (value: (disk: DiskFacts) => number): readonly MetricSample[] =>
    disks.map((disk) => ({ labels: { path: disk.path }, value: value(disk) }))
  return [
    gauge('hearth_node_memory_bytes', 'Memory of the node.', one(memory?.totalBytes)),
    gauge('hearth_node_memory_available_bytes', 'Memory that can be had without swapping.', one(memory?.availableBytes)),
    counter('hearth_node_pressure_waiting_seconds_total', 'Time in which some task waited for the resource.', stalled('some')),
    counter(
      'hearth_node_pressure_stalled_seconds_total',
      'Time in which no task got on for want of the resource.',
      stalled('full')
    ),
    gauge(
      'hearth_node_disk_size_bytes',
      'Size of the file system that holds the folder.',
      ofDisks((d) => d.totalBytes)
    ),
    gauge(
      'hearth_node_disk_free_bytes',
      'What may still be written to it.',
      ofDisks((d) => d.freeBytes)
    ),
    gauge(
      'hearth_node_disk_inodes_free',
      'Files that may still be made on it.',
      ofDisks((d) => d.freeInodes)
    ),
    gauge(
      'hearth_node_disk_readonly',
      '1 where it takes no writes.',
      ofDisks((d) => Number(d.readOnly))
    )
  ]
}

export interface AgentMetricFacts {
  readonly version: string
  readonly agentId: string
  readonly registered: boolean
  readonly startsMs: readonly number[]
  readonly cpuSeconds: number
  readonly residentBytes: number
  readonly latenessMs: readonly number[]
  readonly clockSteps: number
  readonly syncs: number
  readonly syncSeconds: number
  readonly ledgerQuarantined: number
}

export function agentMetrics(facts: AgentMetricFacts): readonly MetricFamily[] {
  const startedMs = facts.startsMs.at(-1)
  return [
    gauge('hearth_agent_info', 'Which agent this is.', [
      { labels: { agent_id: facts.agentId, version: facts.version }, value: 1 }
    ]),
    gauge('hearth_agent_registered', '1 while a master has this agent.', one(Number(facts.registered))),
    gauge(
      'process_start_time_seconds',
      'When the agent started, since 1970.',
      one(startedMs === undefined ? undefined : startedMs / 1_000)
    ),
    counter('process_cpu_seconds_total', 'Processor time of the agent, without its children.', one(facts.cpuSeconds)),
    gauge('process_resident_memory_bytes', 'Resident memory of the agent.', one(facts.residentBytes)),
    counter(
      'hearth_agent_restarts_total',
      'Restarts of the agent since the node’s boot.',
      one(Math.max(0, facts.startsMs.length - 1))
    ),
    gauge(
      'hearth_agent_event_loop_lateness_max_seconds',
      'By how much the latest of the last five minutes’ beats came too late.',
      one(Math.max(0, ...facts.latenessMs) / 1_000)
    ),
    counter('hearth_node_clock_steps_total', 'Jumps of the wall clock since the agent’s start.', one(facts.clockSteps)),
    counter('hearth_ledger_syncs_total', 'Syncs of the ledger since the agent’s start.', one(facts.syncs)),
    counter('hearth_ledger_sync_seconds_total', 'Time that these syncs took.', one(facts.syncSeconds)),
    gauge('hearth_ledger_quarantined', 'Damaged stretches of the ledger that were put aside.', one(facts.ledgerQuarantined))
  ]
}

export type TaskMetricFacts = Omit<TopTask, 'sandboxDir' | 'name' | 'cgroupPath'> & { readonly usage: Usage }

export function taskMetrics(tasks: readonly TaskMetricFacts[]): readonly MetricFamily[] {
  const states = new Map<string, number>()
  for (const { state } of tasks) states.set(state, (states.get(state) ?? 0) + 1)
  const of = (value: (task: TaskMetricFacts) => number | undefined): readonly MetricSample[] =>
    tasks.flatMap((task) => {
      const found = value(task)
      const labels = { framework: task.frameworkId, task: task.taskId, container: task.containerId }
      return found === undefined ? [] : [{ labels, value: found }]
    })
  return [
    gauge(
      'hearth_tasks',
      'Tasks on this node by state.',
      [...states].map(([state, value]) => ({ labels: { state }, value }))
    ),
    counter(
      'hearth_task_cpu_seconds_total',
      'Processor time of the task.',
      of(({ usage }) => (usage.cpuUs === undefined ? undefined : usage.cpuUs / 1e6))
    ),
    gauge(
      'hearth_task_memory_bytes',
      'Memory of the task, its file cache included.',
      of(({ usage }) => usage.memoryBytes)
    ),
    gauge(
      'hearth_task_pids',
      'Processes and threads of the task.',
      of(({ usage }) => usage.pids)
    ),
    gauge(
      'hearth_task_restarts',
      'How often the task was started again in place.',
      of(({ restarts }) => restarts)
    )
  ]
}
