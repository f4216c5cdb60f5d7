import { spawnSync } from 'node:child_process'
import { existsSync, lstatSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { systemClock, within } from '../base/clock.ts'
import { Fault, isFault } from '../base/fault.ts'
import { readJson, sendRequest } from '../sdk/http.ts'
import { awaitEnd, isAlive, type ProcessIdentity, signalProcess } from './process-identity.ts'
import type { StateLayout } from './state-layout.ts'
import { livingDaemons, readSupervisorFile, removeSupervisorFile, type SupervisorFile } from './supervisor-file.ts'

export interface StopPlan {
  readonly removeRun: boolean
  /** `always` starts an agent for the purpose where none answers. */
  readonly workloads: 'always' | 'if-agent-answers'
}

const workloadsPatienceMs = 120_000
const daemonsPatienceMs = 60_000

/** Ends every container, then the agent, then the master. Returns whether anything was running. */
export async function stopCluster(layout: StateLayout, plan: StopPlan, signal: AbortSignal): Promise<boolean> {
  const file = readSupervisorFile(layout)
  const supervised = file !== undefined && isAlive(file.process)
  const stopped = await stopWorkloads(layout, signal)
  const ended = file === undefined ? false : await endProcesses(file, signal)
  if (!stopped && plan.workloads === 'always' && hasWorkloads(layout)) stopWorkloadsAlone(layout)
  removeSupervisorFile(layout)
  if (plan.removeRun) removeRun(layout)
  return supervised || ended || stopped
}

/** Returns whether an agent answered. */
export async function stopWorkloads(layout: StateLayout, signal: AbortSignal): Promise<boolean> {
  if (!existsSync(layout.agentSocket)) return false
  const patience = within(workloadsPatienceMs, signal)
  try {
    const agent = { kind: 'socket', path: layout.agentSocket } as const
    await readJson(await sendRequest(agent, { method: 'POST', path: '/v1/workloads/stop' }, patience))
    return true
  } catch (e) {
    if (isFault(e, 'unavailable')) return false
    if (isFault(e)) throw e
    throw new Fault(
      'timeout',
      `the agent did not end its tasks in ${workloadsPatienceMs / 1000} s; see ${layout.logs}/agent.log`,
      {},
      e
    )
  }
}

async function endProcesses(file: SupervisorFile, signal: AbortSignal): Promise<boolean> {
  const supervisor = signalProcess(file.process, 'SIGTERM')
  if (supervisor) await mustEnd('the supervisor', file.process, signal)
  const orphans = [...livingDaemons(file)].reverse()
  for (const daemon of orphans) {
    signalProcess(daemon.process, 'SIGTERM')
    await mustEnd(`the ${daemon.name}`, daemon.process, signal)
  }
  return supervisor || orphans.length > 0
}

async function mustEnd(what: string, target: ProcessIdentity, signal: AbortSignal): Promise<void> {
  if (await awaitEnd(target, daemonsPatienceMs, systemClock, signal)) return
  throw new Fault('timeout', `${what} (process ${target.pid}) did not end in ${daemonsPatienceMs / 1000} s; end it by hand`)
}

/** Bundles of containers that were not removed. */
export function hasWorkloads(layout: StateLayout): boolean {
  const bundles = join(layout.run, 'c')
  return existsSync(bundles) && readdirSync(bundles).length > 0
}

/** With the agent dead, an agent that does nothing else ends its containers and removes what they left. */
export function stopWorkloadsAlone(layout: StateLayout): void {
  const program = join(dirname(process.argv[1] ?? ''), 'agent.cjs')
  const run = spawnSync(process.execPath, [program, '--stop-workloads', '--state-dir', layout.stateDir], {
    encoding: 'utf8',
    timeout: workloadsPatienceMs
  })
  if (run.status === 0) return
  const said = (run.stderr || run.error?.message || '').trim().split('\n').at(-1) ?? ''
  throw new Fault('unavailable', `the containers left in ${layout.run}/c could not be removed: ${said}`)
}

/** Refuses while something is mounted there: what is below a mount belongs to somebody. */
export function removeRun(layout: StateLayout): void {
  const elsewhere = bootDirectory(layout)
  if (elsewhere !== undefined) removeTree(elsewhere)
  removeTree(layout.run)
}

/** Where the agent put its boot-bound files, if that is a directory of its own on a tmpfs. */
function bootDirectory(layout: StateLayout): string | undefined {
  const link = join(layout.run, 'c')
  if (lstatSync(link, { throwIfNoEntry: false })?.isSymbolicLink() !== true) return undefined
  const place = dirname(readlinkSync(link))
  return /^hearth-[0-9a-f]{16}$/.test(basename(place)) ? place : undefined
}

export function removeTree(path: string): void {
  const mounted = mountsBelow(path, readFileSync('/proc/self/mountinfo', 'utf8'))
  if (mounted.length > 0)
    throw new Fault('conflict', `${mounted[0]} is still mounted; unmount it and try again`, { mounts: mounted.length })
  rmSync(path, { recursive: true, force: true })
}

/** Mount points at or below `path`, from the text of /proc/self/mountinfo (proc(5): field 5, octal escapes). */
export function mountsBelow(path: string, mountinfo: string): readonly string[] {
  return mountinfo
    .split('\n')
    .map((line) =>
      (line.split(' ')[4] ?? '').replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
    )
    .filter((point) => point === path || point.startsWith(`${path}/`))
}
