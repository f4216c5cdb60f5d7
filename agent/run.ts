import { join } from 'node:path'
import { pino } from 'pino'
import { systemClock } from '../base/clock.ts'
import { isFault } from '../base/fault.ts'
import { type Log, pinoSink } from '../base/log.ts'
import { inOrder } from '../base/service.ts'
import { readCgroupLayout } from '../isolators/cgroup2/layout.ts'
import type { Capability } from '../proto/gen/messages.ts'
import { type Agent, compose, type Parts } from './compose.ts'
import type { AgentConfig } from './config.ts'
import { readMasters, readOwnCredentials } from './credentials.ts'
import { EndOfAgent } from './end-of-agent.ts'
import { placeBootDirectory, removeBootDirectory } from './host/boot-directory.ts'
import { systemRoots } from './host/cgroups.ts'
import { dockerCapability } from './host/docker-program.ts'
import { startExec } from './host/exec.ts'
import { type HostFacts, readHostFacts } from './host/facts.ts'
import { enterLeaf, placeWorkloads } from './host/placement.ts'
import type { ProgramVersions } from './host/program-versions.ts'
import { ownUnit, SystemdNotice, type SystemdUnit, unitCapability } from './host/systemd.ts'
import { becomeCertified, identify } from './identity.ts'
import { diskFiles } from './ledger/files.ts'
import { openLedger } from './ledger/ledger.ts'
import { raised } from './ledger/level.ts'
import { offerDevices } from './named-devices.ts'
import { SyncMeter } from './node-health/sync-meter.ts'
import type { Ledger } from './ports.ts'
import { reattach } from './reattach.ts'
import { Trial } from './upgrade/trial.ts'

const stopWithinMs = 10_000
const stopWorkloadsWithinMs = 60_000

interface Orders {
  readonly config: AgentConfig
  readonly env: Readonly<Record<string, string | undefined>>
  /** Of runc, crun and conmon; asked for before this file was loaded. */
  readonly versions: Promise<ProgramVersions>
  readonly stopAsking: (reason: unknown) => void
}

/** Runs an agent until SIGTERM. Resolves with the exit code; throws the `Fault` that kept it from starting. */
export async function run(orders: Orders): Promise<number> {
  const serializers = { error: pino.stdSerializers.err }
  const log = pino({ level: orders.config.logLevel, base: { room: 'agent' }, serializers }, pinoSink('agent', systemClock.wallMs))
  try {
    return await runLogged(orders, log)
  } catch (e) {
    if (isFault(e)) log.error({ code: e.code, fault: e.message }, 'agent.not_started')
    throw e
  }
}

async function runLogged(orders: Orders, log: Log): Promise<number> {
  const stagesMs: Record<string, number> = { loaded: sinceBirthMs() }
  const { config, versions } = orders
  const unit = ownUnit(orders.env)
  const end = new EndOfAgent(log)
  end.signal.addEventListener('abort', () => orders.stopAsking(end.signal.reason), { once: true })
  const layout = readCgroupLayout()
  const clock = systemClock
  const { trial: onTrial, reverted } = config.upgrade
  const syncs = new SyncMeter(clock)
  // Side by side: the one waits for other programs, the other for the disk.
  const [facts, placement, unitRow, ledger, credentials, masters] = await Promise.all([
    readHostFacts({ versions, roots: systemRoots }, { stateDir: config.stateDir }),
    placeWorkloads({ clock, log, layout, unit }, { ...config, chosen: config.cgroupParentChosen }),
    unit === undefined ? undefined : unitCapability(unit, startExec, end.signal),
    openLedger(
      { log, onFatal: (fault) => end.broken(fault), files: syncs.around(diskFiles) },
      {
        directory: join(config.stateDir, 'agent/ledger'),
        ...(onTrial === undefined ? {} : { freshLevel: 1 }),
        ...(reverted === undefined ? {} : { rejectedVersion: reverted })
      }
    ),
    readOwnCredentials(config.stateDir),
    readMasters(config.stateDir),
    unit === undefined ? undefined : enterLeaf(layout, unit)
  ])
  stagesMs['read'] = sinceBirthMs()
  const bootDir = placeBootDirectory(config.runDir)
  // Tasks of an earlier life can be ended all the same.
  if (credentials !== undefined && !config.stopWorkloads) await becomeCertified({ ledger, log }, credentials.name)
  const isWhole = await identify({ ledger, clock, log }, bootDir)
  const trial = new Trial(
    { clock, log, prove: (signal) => agent.prove(signal), raise: () => raise(ledger) },
    { orders: config.upgrade, directory: join(config.stateDir, 'agent/upgrade') }
  )
  const hostFacts = withOffers(facts, config, unitRow)
  const parts = {
    config,
    masters: mastersOf(config, masters),
    bootDir,
    facts: hostFacts,
    ledger,
    syncs,
    log,
    end,
    layout,
    placement,
    isWhole
  }
  const agent = await compose({ ...parts, settled: trial.over })
  stagesMs['composed'] = sinceBirthMs()
  await Promise.all([agent.runtime.start(), agent.leases.start()])
  await agent.clearSelfTests()
  await reattach({ ledger, runtime: agent.runtime, tasks: agent.tasks, log }, { runDir: bootDir, bootId: facts.bootId, isWhole })
  stagesMs['attached'] = sinceBirthMs()
  if (config.stopWorkloads) {
    await agent.tasks.stopAll(AbortSignal.timeout(stopWorkloadsWithinMs))
    await agent.tasks.idle()
    await agent.trash.stop(AbortSignal.timeout(stopWithinMs))
  } else {
    await serve(agent, trial, unit, { config, log, end, ledger, started: { cgroups: facts.cgroups.mode, bootDir, stagesMs } })
  }
  await placement.scope?.release()
  await agent.leases.stop()
  await agent.runtime.stop()
  removeBootDirectory(config.runDir, bootDir)
  await ledger.close()
  log.info({ code: end.code }, 'agent.stopped')
  // Tasks go on and so would what follows them here: a launch on its way must not find the ledger closed, and fail.
  return process.exit(end.code)
}

function withOffers(facts: HostFacts, config: AgentConfig, unitRow: Capability | undefined): HostFacts {
  const devices = offerDevices(config.devices)
  const capabilities = [
    ...facts.capabilities,
    dockerCapability(config),
    ...devices.capabilities,
    ...(unitRow === undefined ? [] : [unitRow])
  ]
  return { ...facts, capabilities, resources: [...facts.resources, ...devices.resources] }
}

/** From the first service to the last one's end. */
async function serve(
  agent: Agent,
  trial: Trial,
  unit: SystemdUnit | undefined,
  {
    config,
    log,
    end,
    ledger,
    started
  }: Pick<Parts, 'config' | 'log' | 'end' | 'ledger'> & { readonly started: Readonly<Record<string, unknown>> }
): Promise<void> {
  const patience = (): AbortSignal => AbortSignal.timeout(stopWithinMs)
  const services = inOrder('agent', agent.services, patience)
  const observers = inOrder('observers', agent.observers, patience)
  const notice = unit === undefined ? undefined : new SystemdNotice(unit, log)
  await services.start()
  await trial.begin(end.signal).catch((e: unknown) => end.broken(e))
  await notice?.ready(`${agent.tasks.running} tasks`)
  const { agentId } = ledger.view.head
  log.info({ agentId, stateDir: config.stateDir, unit: unit?.name ?? '', ...started }, 'agent.started')
  await observers.start()
  const settled = trial.settle(end.signal).catch((e: unknown) => end.broken(e))
  await end.asked
  await notice?.stopping()
  await settled
  const deadline = patience()
  await observers.stop(deadline)
  await services.stop(deadline)
  notice?.close()
}

/** Those that are named, else those of the cluster that this node has joined, else the one of the same state directory. */
function mastersOf({ masters, runDir }: AgentConfig, joined: readonly string[]): readonly string[] {
  if (masters.length > 0) return masters
  return joined.length > 0 ? joined : [`unix:${join(runDir, 'agents.sock')}`]
}

/** Whole milliseconds since the process began. */
const sinceBirthMs = (): number => Math.round(performance.now())

async function raise(ledger: Ledger): Promise<void> {
  const head = raised(ledger.view.head)
  if (head !== undefined) await ledger.append({ head }, 'disk')
}
