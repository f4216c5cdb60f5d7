import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { systemClock } from '../../base/clock.ts'
import { errnoOf, Fault } from '../../base/fault.ts'
import type { CommonOptions, Context } from '../context.ts'
import { startProgress } from '../output/progress.ts'
import { awaitEnd, isAlive, type ProcessIdentity, signalProcess } from '../process-identity.ts'
import { type StateLayout, stateLayout } from '../state-layout.ts'
import { hasWorkloads, stopWorkloads, stopWorkloadsAlone } from '../stop-cluster.ts'
import { readSupervisorFile } from '../supervisor-file.ts'

interface StopOptions extends CommonOptions {
  readonly workloads?: boolean
}

const endPatienceMs = 60_000

/** Stops the agent of this host; its containers go on unless `--workloads` ends them first. 0 also where nothing was to do. */
export async function stopNode(context: Context, options: StopOptions): Promise<number> {
  const { stateDir } = context.settings(options)
  const { stdout, stderr } = context.streams
  if (process.getuid?.() !== 0) throw new Fault('denied', 'hearth node stop needs root; try: sudo hearth node stop')
  const layout = stateLayout(stateDir)
  const progress = startProgress(stderr)
  try {
    const agent = livingAgent(layout)
    let ended = false
    if (options.workloads === true) {
      progress.show('stopping tasks')
      ended = await endWorkloads(layout, context.signal)
    }
    // systemd has its own order for the rest: waiting for a unit here would be waiting for ourselves.
    const goesDown = agent !== undefined && systemctl(['is-system-running']).said === 'stopping'
    progress.show('stopping the agent')
    const how = agent === undefined || goesDown ? undefined : await stopAgent(layout, agent, context.signal)
    progress.clear()
    const tasks = options.workloads === true ? (ended ? 'its tasks have ended' : 'no tasks were left') : 'its tasks go on'
    if (how !== undefined) stdout.write(`${how.stopped}; ${tasks}. To start it again: ${how.startAgain}\n`)
    else if (goesDown) stdout.write(`the host goes down: ${tasks}\n`)
    else stdout.write(`no agent runs in ${stateDir}; ${tasks}\n`)
    return 0
  } finally {
    progress.clear()
  }
}

/** With the agent's help, or without where none answers. Returns whether there was anything to end. */
async function endWorkloads(layout: StateLayout, signal: AbortSignal): Promise<boolean> {
  const had = hasWorkloads(layout)
  if (await stopWorkloads(layout, signal)) return had
  if (had) stopWorkloadsAlone(layout)
  return had
}

/** The process that owns the ledger, as it wrote down itself (agent/ledger/owner.ts). */
export function livingAgent(layout: StateLayout): ProcessIdentity | undefined {
  try {
    const [pid, startTicks, bootId = ''] = readFileSync(join(layout.stateDir, 'agent/ledger/owner'), 'utf8').trim().split(' ')
    const owner = { pid: Number(pid), startTicks: Number(startTicks), bootId }
    return Number.isSafeInteger(owner.pid) && owner.pid > 1 && isAlive(owner) ? owner : undefined
  } catch (e) {
    if (errnoOf(e) === 'ENOENT' || errnoOf(e) === 'ENOTDIR') return undefined
    throw e
  }
}

/** Asks whoever keeps the agent to keep it no longer: its unit, its supervisor, or nobody. */
async function stopAgent(
  layout: StateLayout,
  agent: ProcessIdentity,
  signal: AbortSignal
): Promise<{ readonly stopped: string; readonly startAgain: string }> {
  const unit = unitOf(readFileSync(`/proc/${agent.pid}/cgroup`, 'utf8'))
  if (unit !== undefined && systemctl(['show', '--property=MainPID', '--value', unit]).said === String(agent.pid)) {
    const { code, said } = systemctl(['stop', unit])
    if (code !== 0) throw new Fault('unavailable', `systemctl stop ${unit} ended with ${code}: ${said}`)
    return { stopped: `${unit} is stopped`, startAgain: `systemctl start ${unit}` }
  }
  const keeper = readSupervisorFile(layout)?.process
  const supervisor = keeper !== undefined && isAlive(keeper) ? keeper : undefined
  signalProcess(supervisor ?? agent, 'SIGTERM')
  for (const target of [agent, supervisor ?? agent]) {
    if (await awaitEnd(target, endPatienceMs, systemClock, signal)) continue
    throw new Fault('timeout', `process ${target.pid} did not end in ${endPatienceMs / 1000} s; end it by hand`, {
      pid: target.pid
    })
  }
  return supervisor === undefined
    ? { stopped: `the agent (process ${agent.pid}) is stopped`, startAgain: 'start it as it was started before' }
    : { stopped: 'the agent and the master of hearth up are stopped', startAgain: 'hearth up' }
}

/** The service whose cgroup, or whose leaf, the process is in. */
export const unitOf = (cgroup: string): string | undefined => /^0::.*\/([^/]+\.service)(\/agent)?$/m.exec(cgroup)?.[1]

function systemctl(args: readonly string[]): { readonly code: number; readonly said: string } {
  const run = spawnSync('systemctl', args, { encoding: 'utf8', timeout: endPatienceMs })
  return { code: run.status ?? 1, said: (run.stdout || run.stderr || run.error?.message || '').trim() }
}
