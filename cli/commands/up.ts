import { type Clock, systemClock, within } from '../../base/clock.ts'
import { Fault, isFault } from '../../base/fault.ts'
import { OperatorClient } from '../../sdk/operator-client.ts'
import type { Node } from '../../sdk/operator-messages.ts'
import type { CommonOptions, Context } from '../context.ts'
import { endOrphans, failOnCrashes, lastLogLines, makeFolders, prepareHost, startSupervisor } from '../daemons.ts'
import { outcomeOf } from '../exit-code.ts'
import { requireHostTools, searchFolders } from '../host-tools.ts'
import { hasJoined, startJoinedAgent } from '../joined-agent.ts'
import { checkListenAddress, openListenAddress } from '../listen-address.ts'
import { startProgress } from '../output/progress.ts'
import { isAlive } from '../process-identity.ts'
import { changedSettings, environmentOf } from '../running-settings.ts'
import type { StateLayout } from '../state-layout.ts'
import { stopCluster } from '../stop-cluster.ts'
import { readSupervisorFile, type SupervisorFile } from '../supervisor-file.ts'
import { takeUpLock } from '../up-lock.ts'
import { describeCluster } from './status.ts'

interface UpOptions extends CommonOptions {
  readonly http?: string
  readonly listen?: string
}

const startPatienceMs = 60_000
const probePatienceMs = 60_000
const pollMs = 50

export async function up(context: Context, options: UpOptions): Promise<number> {
  const layout = prepareHost(context, options, 'hearth up')
  const http = options.http ?? context.env['HEARTH_HTTP'] ?? ''
  if (http !== '') checkListenAddress(options.http === undefined ? 'HEARTH_HTTP' : '--http', http)
  const listen = options.listen === undefined ? '' : openListenAddress('--listen', options.listen)
  requireHostTools(searchFolders(context.env['PATH'] ?? ''))
  makeFolders(layout)
  const release = takeUpLock(layout)
  try {
    if (hasJoined(layout)) return await startJoinedAgent(context, layout)
    const running = readSupervisorFile(layout)
    if (running !== undefined && isAlive(running.process)) return await tellRunning(context, layout, running, options.http)
    if (running !== undefined) await endOrphans(running, context.signal)
    return await startCluster(context, layout, { ...options, listen })
  } finally {
    release()
  }
}

async function tellRunning(
  context: Context,
  layout: StateLayout,
  running: SupervisorFile,
  http: string | undefined
): Promise<number> {
  if (running.daemons.length > 0 && !running.daemons.some((d) => d.name === 'agent')) {
    throw new Fault('conflict', 'a master alone runs here, of hearth cluster init; run hearth down, then hearth up for both')
  }
  const client = clientOf(layout)
  const node = await awaitNode(client, layout, context.signal)
  context.streams.stdout.write(`hearth is up already\n${describeCluster(layout, running, [node])}${nextCommand(layout)}`)
  const changed = [
    ...(http === undefined || http === running.http ? [] : ['--http']),
    ...changedSettings(context.env, environmentOf(running.process.pid))
  ]
  if (changed.length > 0) {
    const say = `${changed.join(', ')}: the running daemons were started with other settings; run hearth down, then hearth up again`
    context.streams.stderr.write(`hearth: ${say}\n`)
  }
  return 0
}

async function startCluster(context: Context, layout: StateLayout, { http = '', listen = '' }: UpOptions): Promise<number> {
  const progress = startProgress(context.streams.stderr)
  try {
    progress.show('starting master and agent')
    startSupervisor(context, layout, { http, listen, daemons: [] })
    const client = clientOf(layout)
    const node = await awaitNode(client, layout, context.signal)
    progress.show('running a probe task')
    await runProbe(client, context.signal)
    progress.clear()
    const file = readSupervisorFile(layout)
    const facts = file === undefined ? '' : describeCluster(layout, file, [node])
    context.streams.stdout.write(`hearth is up\n${facts}${nextCommand(layout)}`)
    return 0
  } catch (e) {
    progress.clear()
    context.streams.stderr.write(lastLogLines(layout, e))
    await stopCluster(layout, { removeRun: true, workloads: 'if-agent-answers' }, context.signal)
    throw e
  } finally {
    progress.clear()
  }
}

const clientOf = (layout: StateLayout): OperatorClient => new OperatorClient({ kind: 'socket', path: layout.masterSocket })

/** Resolves with this host's node once it is connected. Throws with the reason where a daemon does not stay up. */
async function awaitNode(
  client: OperatorClient,
  layout: StateLayout,
  signal: AbortSignal,
  clock: Clock = systemClock
): Promise<Node> {
  const until = clock.monotonicMs() + startPatienceMs
  let seen = 'the master does not answer'
  while (clock.monotonicMs() < until) {
    try {
      const node = (await client.nodes.list(signal)).find((n) => n.connected)
      if (node !== undefined) return node
      seen = 'the agent has not registered'
    } catch (e) {
      if (!isFault(e)) throw e
      seen = e.message
    }
    failOnCrashes(layout)
    await clock.sleep(pollMs, signal)
  }
  throw new Fault('timeout', `${seen} after ${startPatienceMs / 1000} s; see the logs in ${layout.logs}`)
}

async function runProbe(client: OperatorClient, signal: AbortSignal): Promise<void> {
  const patience = within(probePatienceMs, signal)
  const task = await client.tasks.run({ image: 'host', arguments: ['true'], environment: [], labels: { probe: 'up' } }, patience)
  const ended = await client.tasks.wait(task.taskId, patience)
  const { code, sentence } = outcomeOf(ended)
  if (code !== 0)
    throw new Fault('unavailable', `the probe task failed with code ${code}: ${sentence ?? ended.message ?? 'no reason'}`)
  await client.tasks.remove(task.taskId, true, patience)
}

function nextCommand(layout: StateLayout): string {
  const where = layout.stateDir === '/var/lib/hearth' ? '' : `HEARTH_STATE_DIR=${layout.stateDir} `
  return `Now type: ${where}npx hearth task run --rm host -- uname -a\n`
}
