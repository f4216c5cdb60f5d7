import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Clock } from '../../base/clock.ts'
import { isFault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import type { Random } from '../../base/random.ts'
import type { Service } from '../../base/service.ts'
import { hearthVersion } from '../../base/version.ts'
import type { CgroupLayout } from '../../isolators/cgroup2/layout.ts'
import { readUsage } from '../../isolators/cgroup2/usage.ts'
import type { AgentConfig } from '../config.ts'
import type { Hardware } from '../host/hardware.ts'
import type { Ledger } from '../ports.ts'
import { agentPlans } from './agent-plans.ts'
import { AgentStarts } from './agent-starts.ts'
import { Beat } from './beat.ts'
import { readDisks } from './gather/disk-facts.ts'
import { readMemory, readPressure } from './gather/kernel-facts.ts'
import { nodeRoots } from './gather/roots.ts'
import { agentFilesPlan, healthFolders, quickPlans } from './host-plans.ts'
import { type MetricSource, renderMetrics } from './metrics-text.ts'
import { NodeHealth } from './monitor.ts'
import { agentMetrics, healthMetrics, hostMetrics, taskMetrics } from './node-metrics.ts'
import type { SyncMeter } from './sync-meter.ts'
import { askChild, thoroughChecks } from './thorough-child.ts'
import { readTop, type Top, type TopTask } from './top.ts'
import type { CheckPlan } from './verdict.ts'

interface Parts {
  readonly ledger: Ledger
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly layout: CgroupLayout
  readonly syncs: SyncMeter
  readonly bootId: string
  readonly registered: () => boolean
  readonly tasks: () => readonly TopTask[]
  /** Counters and checks of other rooms. */
  readonly sources: readonly MetricSource[]
  readonly plans: readonly CheckPlan[]
  readonly onBroken: (error: unknown) => void
}

/** Everything about the node's health that other rooms and the local API see. */
export interface NodeHealthRoom {
  readonly health: NodeHealth
  readonly services: readonly Service[]
  /** The report; with `refresh` after a look at everything, hardware included. */
  report(refresh: boolean): Promise<Readonly<Record<string, unknown>>>
  top(signal: AbortSignal): Promise<Top>
  /** Prometheus text. */
  metrics(): Promise<string>
}

export function composeNodeHealth(parts: Parts, config: AgentConfig): NodeHealthRoom {
  const { clock, log, random, ledger, layout } = parts
  const beat = new Beat(clock)
  const starts = new AgentStarts({ clock, log }, { runDir: config.runDir, bootId: parts.bootId })
  const child = {
    program: [process.execPath, join(dirname(fileURLToPath(import.meta.url)), 'health.cjs')],
    settings: settingsOf(config)
  }
  const facts = {
    clock,
    beat,
    syncs: parts.syncs,
    startsMs: () => starts.allMs,
    ledger: () => ({ full: ledger.low, quarantined: ledger.quarantined.length }),
    registered: parts.registered
  }
  const health = new NodeHealth(
    {
      quick: [
        ...quickPlans(nodeRoots, { ...config, askDns: config.healthDns }),
        agentFilesPlan(nodeRoots),
        ...agentPlans(facts),
        ...parts.plans
      ],
      thorough: (turn, signal) => thoroughChecks(child, turn, signal),
      clock,
      random,
      log
    },
    { everyMs: config.healthEveryMs, onBroken: parts.onBroken }
  )
  let hardware: Promise<Hardware | null> | undefined
  return {
    health,
    services: [starts, beat, health],
    async report(refresh) {
      if (!refresh) return { ...health.report() }
      hardware ??= askHardware(child)
      const [known] = await Promise.all([hardware, health.refresh()])
      if (known === null) hardware = undefined
      return { hardware: known, ...health.report() }
    },
    top: (signal) => readTop({ roots: nodeRoots, layout, clock }, parts.tasks(), signal),
    metrics: () => scrape(parts, config, { beat, health, starts })
  }
}

/** The child is to see what this agent sees. */
const settingsOf = (config: AgentConfig): readonly string[] => [
  ...['--state-dir', config.stateDir, '--cgroup-parent', config.cgroupParent, '--checks-dir', config.checksDir],
  ...['--conmon', config.conmon, '--runc', config.runc, '--crun', config.crun],
  ...['--health-dns', config.healthDns ? 'yes' : 'no']
]

async function askHardware(child: Parameters<typeof askChild>[0]): Promise<Hardware | null> {
  try {
    const answer = (await askChild(child, 'hardware', 0, new AbortController().signal)) as { readonly hardware?: Hardware }
    return answer.hardware ?? null
  } catch (e) {
    if (isFault(e)) return null // for people only: asked again the next time
    throw e
  }
}

async function scrape(
  parts: Parts,
  config: AgentConfig,
  own: { readonly beat: Beat; readonly health: NodeHealth; readonly starts: AgentStarts }
): Promise<string> {
  const { ledger, layout, syncs } = parts
  const [memory, pressure, disks, tasks, others] = await Promise.all([
    readMemory(nodeRoots),
    readPressure(nodeRoots),
    readDisks(nodeRoots, healthFolders(config)),
    Promise.all(parts.tasks().map(async (task) => ({ ...task, usage: await readUsage(layout, task.cgroupPath) }))),
    Promise.all(parts.sources.map((source) => source()))
  ])
  const cpu = process.cpuUsage()
  const agent = {
    version: hearthVersion,
    agentId: ledger.view.head.agentId,
    registered: parts.registered(),
    startsMs: own.starts.allMs,
    cpuSeconds: (cpu.user + cpu.system) / 1e6,
    residentBytes: process.memoryUsage.rss(),
    latenessMs: own.beat.latenessMs,
    clockSteps: own.beat.clockWatch.total,
    syncs: syncs.count,
    syncSeconds: syncs.totalMs / 1_000,
    ledgerQuarantined: ledger.quarantined.length
  }
  return renderMetrics([
    ...agentMetrics(agent),
    ...healthMetrics(own.health.report().checks),
    ...hostMetrics({ memory, pressure, disks }),
    ...taskMetrics(tasks),
    ...others.flat()
  ])
}
