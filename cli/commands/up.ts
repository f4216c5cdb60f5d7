import { spawn } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readFileSync, statSync } from 'node:fs'
import { dirname, isAbsolute, join } from 'node:path'
import { type Clock, systemClock, within } from '../../base/clock.ts'
import { errnoOf, Fault, isFault } from '../../base/fault.ts'
import { OperatorClient } from '../../sdk/operator-client.ts'
import type { Node } from '../../sdk/operator-messages.ts'
import type { CommonOptions, Context } from '../context.ts'
import { outcomeOf } from '../exit-code.ts'
import { requireHostTools, searchFolders } from '../host-tools.ts'
import { checkListenAddress } from '../listen-address.ts'
import { makeFolder } from '../make-folder.ts'
import { startProgress } from '../output/progress.ts'
import { awaitEnd, isAlive, signalProcess } from '../process-identity.ts'
import { changedSettings, environmentOf } from '../running-settings.ts'
import { daemonLog, type StateLayout, stateLayout } from '../state-layout.ts'
import { stopCluster } from '../stop-cluster.ts'
import { livingDaemons, readSupervisorFile, type SupervisorFile } from '../supervisor-file.ts'
import { takeUpLock } from '../up-lock.ts'
import { describeCluster } from './status.ts'

interface UpOptions extends CommonOptions {
  readonly http?: string
}

const startPatienceMs = 60_000
const probePatienceMs = 60_000
const pollMs = 50
/** A daemon that came down this often before the cluster was up will not come up. */
const mostRestarts = 3
const logLines = 15

export async function up(context: Context, options: UpOptions): Promise<number> {
  const { stateDir } = context.settings(options)
  checkStateDir(stateDir)
  const http = options.http ?? context.env['HEARTH_HTTP'] ?? ''
  if (http !== '') checkListenAddress(options.http === undefined ? 'HEARTH_HTTP' : '--http', http)
  if (process.getuid?.() !== 0) throw new Fault('denied', 'hearth up makes containers and needs root; try: sudo hearth up')
  requireHostTools(searchFolders(context.env['PATH'] ?? ''))
  const layout = stateLayout(stateDir)
  makeFolders(layout)
  const release = takeUpLock(layout)
  try {
    const running = readSupervisorFile(layout)
    if (running !== undefined && isAlive(running.process)) return await tellRunning(context, layout, running, options.http)
    if (running !== undefined) await endOrphans(running, context.signal)
    return await startCluster(context, layout, options.http ?? '')
  } finally {
    release()
  }
}

function checkStateDir(stateDir: string): void {
  if (!isAbsolute(stateDir)) throw new Fault('invalid', `--state-dir must be an absolute path, not ${JSON.stringify(stateDir)}`)
  // A unix socket's path is at most 107 bytes; the longest of ours lies in run/.
  const longest = 107 - '/run/agents.sock'.length
  if (Buffer.byteLength(stateDir) > longest) throw new Fault('invalid', `--state-dir may have at most ${longest} bytes`)
}

function makeFolders(layout: StateLayout): void {
  try {
    makeFolder(layout.stateDir, 0o711)
    makeFolder(layout.run, 0o711)
    mkdirSync(layout.logs, { recursive: true, mode: 0o750 })
  } catch (e) {
    const code = errnoOf(e) === 'ENOSPC' ? 'exhausted' : 'invalid'
    throw new Fault(code, `the state directory ${layout.stateDir} cannot be made (${errnoOf(e) ?? String(e)})`, {}, e)
  }
}

async function tellRunning(
  context: Context,
  layout: StateLayout,
  running: SupervisorFile,
  http: string | undefined
): Promise<number> {
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

/** Daemons whose supervisor was killed: their tasks go on, and the new daemons take them over. */
async function endOrphans(file: SupervisorFile, signal: AbortSignal): Promise<void> {
  for (const daemon of [...livingDaemons(file)].reverse()) {
    signalProcess(daemon.process, 'SIGTERM')
    if (await awaitEnd(daemon.process, 20_000, systemClock, signal)) continue
    throw new Fault('conflict', `${daemon.name} (process ${daemon.process.pid}) of an earlier start does not end; end it by hand`)
  }
}

async function startCluster(context: Context, layout: StateLayout, http: string): Promise<number> {
  const progress = startProgress(context.streams.stderr)
  try {
    progress.show('starting master and agent')
    startSupervisor(context, layout, http)
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

function startSupervisor(context: Context, layout: StateLayout, http: string): void {
  const program = join(dirname(process.argv[1] ?? ''), 'supervise.cjs')
  const output = openSync(daemonLog(layout, 'supervisor'), 'a', 0o640)
  const child = spawn(process.execPath, [program, layout.stateDir, http], {
    cwd: '/',
    detached: true,
    env: { ...context.env },
    stdio: ['ignore', output, output]
  })
  closeSync(output)
  child.unref()
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

function failOnCrashes(layout: StateLayout): void {
  const crashed = readSupervisorFile(layout)?.daemons.find((d) => d.restarts >= mostRestarts)
  if (crashed === undefined) return
  const { name, lastExit } = crashed
  throw new Fault('unavailable', `the ${name} does not stay up (${lastExit}); see ${daemonLog(layout, name)}`, { daemon: name })
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

/** Of the daemon that failed, where one is known to have. */
function lastLogLines(layout: StateLayout, failure: unknown): string {
  const daemon = isFault(failure) ? failure.detail['daemon'] : undefined
  const names = typeof daemon === 'string' ? [daemon] : ['master', 'agent', 'supervisor']
  return names.map((name) => tailOf(daemonLog(layout, name))).join('')
}

function tailOf(path: string): string {
  if (statSync(path, { throwIfNoEntry: false }) === undefined) return ''
  const lines = readFileSync(path, 'utf8').trimEnd().split('\n').slice(-logLines)
  return lines.join('') === '' ? '' : `--- the last lines of ${path}\n${lines.join('\n')}\n`
}

function nextCommand(layout: StateLayout): string {
  const where = layout.stateDir === '/var/lib/hearth' ? '' : `HEARTH_STATE_DIR=${layout.stateDir} `
  return `Now type: ${where}npx hearth task run --rm host -- uname -a\n`
}
