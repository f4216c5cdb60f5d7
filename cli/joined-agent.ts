import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { systemClock } from '../base/clock.ts'
import { Fault, isFault } from '../base/fault.ts'
import { AgentClient } from '../sdk/agent-client.ts'
import { defaultStateDir } from '../sdk/endpoint.ts'
import type { Context } from './context.ts'
import { endOrphans, failOnCrashes, lastLogLines, makeFolders, startSupervisor } from './daemons.ts'
import { startProgress } from './output/progress.ts'
import { awaitEnd, isAlive, signalProcess } from './process-identity.ts'
import type { StateLayout } from './state-layout.ts'
import { stopCluster } from './stop-cluster.ts'
import { readSupervisorFile } from './supervisor-file.ts'

const patienceMs = 60_000
const pollMs = 100
const unit = 'hearth-agent.service'

/** This host belongs to the cluster of another host's master. */
export const hasJoined = (layout: StateLayout): boolean => existsSync(layout.joinedMasters)

/**
 * Under systemd by its unit, elsewhere under a supervisor; resolves when a master has taken it. `anew`: an agent that runs is to become
 * another node.
 */
export async function startJoinedAgent(context: Context, layout: StateLayout, anew = false): Promise<number> {
  const progress = startProgress(context.streams.stderr)
  try {
    progress.show('starting the agent')
    makeFolders(layout)
    if (hasUnit(layout)) startUnit(anew)
    else await startSupervised(context, layout, anew)
    progress.show('waiting for the master to take it')
    await awaitRegistered(layout, context.signal)
    progress.clear()
    context.streams.stdout.write('the agent is up, and a master has taken it; there: hearth node list\n')
    return 0
  } catch (e) {
    progress.clear()
    if (!hasUnit(layout)) {
      context.streams.stderr.write(lastLogLines(layout, new Fault('unavailable', '', { daemon: 'agent' }, e)))
      await stopCluster(layout, { removeRun: false, workloads: 'if-agent-answers' }, context.signal)
    }
    throw e
  } finally {
    progress.clear()
  }
}

/** The units of the package know one state directory. */
export const hasUnit = ({ stateDir }: StateLayout): boolean =>
  stateDir === defaultStateDir && existsSync('/run/systemd/system') && systemctl(['cat', unit]).code === 0

function startUnit(anew: boolean): void {
  for (const args of [
    ['enable', '--quiet', unit],
    [anew ? 'restart' : 'start', unit]
  ]) {
    const { code, said } = systemctl(args)
    if (code !== 0)
      throw new Fault('unavailable', `systemctl ${args.join(' ')} ended with ${code}: ${said}; see journalctl -u ${unit}`)
  }
}

export function systemctl(args: readonly string[]): { readonly code: number; readonly said: string } {
  const run = spawnSync('systemctl', args, { encoding: 'utf8', timeout: patienceMs })
  return { code: run.status ?? 1, said: (run.stderr || run.stdout || run.error?.message || '').trim() }
}

async function startSupervised(context: Context, layout: StateLayout, anew: boolean): Promise<void> {
  const running = readSupervisorFile(layout)
  if (running !== undefined && isAlive(running.process)) {
    const agent = running.daemons.find((d) => d.name === 'agent')?.process
    if (!anew || agent == null || !signalProcess(agent, 'SIGTERM')) return
    // Its keeper starts it again.
    if (await awaitEnd(agent, patienceMs, systemClock, context.signal)) return
    throw new Fault('timeout', `the agent (process ${agent.pid}) did not end in ${patienceMs / 1000} s; end it by hand`)
  }
  if (running !== undefined) await endOrphans(running, context.signal)
  startSupervisor(context, layout, { http: '', listen: '', daemons: ['agent'] })
}

async function awaitRegistered(layout: StateLayout, signal: AbortSignal): Promise<void> {
  const agent = new AgentClient(layout.agentSocket)
  const until = systemClock.monotonicMs() + patienceMs
  let seen = 'the agent does not answer'
  while (systemClock.monotonicMs() < until) {
    try {
      if (await agent.isRegistered(signal)) return
      seen = 'no master has taken it'
    } catch (e) {
      if (!isFault(e)) throw e
      seen = e.message
    }
    if (!hasUnit(layout)) failOnCrashes(layout)
    await systemClock.sleep(pollMs, signal)
  }
  const logs = hasUnit(layout) ? `journalctl -u ${unit}` : layout.logs
  throw new Fault('timeout', `${seen} after ${patienceMs / 1000} s; see ${logs}`)
}
