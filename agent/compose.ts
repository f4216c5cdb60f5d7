import { readFile } from 'node:fs/promises'
import { cpus } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { systemClock } from '../base/clock.ts'
import { Fault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import { systemRandom } from '../base/random.ts'
import type { Service } from '../base/service.ts'
import { hearthVersion } from '../base/version.ts'
import { builtinIsolators } from '../isolators/builtin.ts'
import type { CgroupLayout } from '../isolators/cgroup2/layout.ts'
import { DockerRuntime } from '../isolators/runtime/docker/docker.ts'
import { type Engine, loadEngine } from '../isolators/runtime/docker/engine.ts'
import { monitorPlace } from '../isolators/runtime/oci/monitor-place.ts'
import { OciRuntime } from '../isolators/runtime/oci/oci.ts'
import type { Runtime } from '../isolators/runtime/runtime.ts'
import { Trash } from '../isolators/trash.ts'
import type { TaskRow } from '../proto/gen/messages.ts'
import { idsOfRoles } from '../proto/id-ranges.ts'
import type { AgentConfig } from './config.ts'
import { readOwnCredentials } from './credentials.ts'
import type { EndOfAgent } from './end-of-agent.ts'
import { Fsck } from './fsck/fsck.ts'
import { dockerAskedDir } from './fsck/observe-docker.ts'
import { orphanMetrics, orphanPlan } from './fsck/tell.ts'
import { Garbage } from './garbage.ts'
import { systemBootClock } from './host/boot-time.ts'
import { dockerProgramOf } from './host/docker-program.ts'
import { startExec, systemExec } from './host/exec.ts'
import type { HostFacts } from './host/facts.ts'
import type { Placement } from './host/placement.ts'
import type { LocalImageStore } from './images/local-store.ts'
import { imageRoutes } from './images/routes.ts'
import { ShiftedViews } from './images/shifted-views.ts'
import { openImageStore } from './images/store.ts'
import { resolveUser } from './images/users.ts'
import { Leases } from './lease/leases.ts'
import { createLocalRouter } from './local-api/router.ts'
import { serveLocalApi } from './local-api/server.ts'
import { ContainerStreams } from './local-api/task-streams.ts'
import { logGapsMetric } from './logs/gap-metric.ts'
import { KeptLogs } from './logs/kept-logs.ts'
import { readLog } from './logs/reader.ts'
import { LogRotation } from './logs/rotation.ts'
import { DeviceDesk, offerDevices } from './named-devices.ts'
import { dockerPlan } from './node-health/checks/docker.ts'
import { composeNodeHealth } from './node-health/compose.ts'
import type { NodeHealth } from './node-health/monitor.ts'
import type { SyncMeter } from './node-health/sync-meter.ts'
import { type TopTask, topTasks } from './node-health/top.ts'
import type { CheckPlan } from './node-health/verdict.ts'
import type { Ledger, LocalRequest, LocalRouter } from './ports.ts'
import { adopt } from './reattach.ts'
import { readProvenance } from './rebuild.ts'
import { recorderOf } from './recorder/recorder.ts'
import { Registration } from './registration.ts'
import { CertificateRenewal } from './renewal.ts'
import { RuntimeChoice } from './runtime-choice.ts'
import { composeLimiting } from './stats/compose.ts'
import { StatusOutbox } from './status-outbox.ts'
import type { TaskRunnerConfig } from './task-runner.ts'
import { Tasks } from './tasks.ts'
import { clearSelfTests, proveSelf } from './upgrade/self-test.ts'
import { isolatorsPlan, missingOf, nodeIsolators, withWalls } from './wall-report.ts'
import { openWalls, type Walls } from './walls.ts'

const programs = dirname(fileURLToPath(import.meta.url))
const sampleEveryMs = 10_000
const collectEveryMs = 3_600_000
const fsckEveryMs = 3_600_000
const emptyTrashAfterMs = 1_000

export interface Agent {
  readonly runtime: Runtime
  readonly leases: Leases
  readonly tasks: Tasks
  readonly trash: Trash
  readonly services: readonly Service[]
  /** They look at the host and at what the services do; nobody waits for their first look. */
  readonly observers: readonly Service[]
  readonly prove: (signal: AbortSignal) => Promise<void>
  readonly clearSelfTests: () => Promise<void>
}

export interface Parts {
  readonly config: AgentConfig
  readonly masters: readonly string[]
  readonly bootDir: string
  readonly facts: HostFacts
  readonly ledger: Ledger
  readonly syncs: SyncMeter
  readonly log: Log
  readonly end: EndOfAgent
  readonly layout: CgroupLayout
  readonly placement: Placement
  /** Aborts when this version is here to stay. */
  readonly settled: AbortSignal
  /** Nothing of the ledger was ever lost. */
  readonly isWhole: boolean
}

const terminalProgram = [process.execPath, join(programs, 'terminal.cjs')]
const times = { clock: systemClock, bootClock: systemBootClock, exec: systemExec }

/** Builds the agent’s parts; none of them runs before it is started. */
export async function compose(parts: Parts): Promise<Agent> {
  const { config, bootDir, facts, ledger, log, layout, settled } = parts
  const clock = systemClock
  const onBroken = (error: unknown): void => parts.end.broken(error)
  const { cgroupParent } = parts.placement
  const own = held(parts)
  const images = await composeImages(parts, own.views)
  const runtime = composeRuntime(parts)
  const trash = composeTrash(join(config.stateDir, 'agent'), log)
  const leases = composeLeases(parts)
  const walls = await wallsOf(parts, trash, leases)
  const { isolators } = walls
  const known = { ...facts, capabilities: withWalls(facts.capabilities, walls) }
  const outbox = new StatusOutbox({ ledger, clock, random: systemRandom, log })
  const rotation = new LogRotation({ clock, log })
  const recorder = recorderOf({ layout, clock, tasks: () => tasks.list() }, { bootDir, cgroupParent, sampleMs: sampleEveryMs })
  const runnerParts = { ledger, outbox, images, runtime, isolators, ...own, log, rotation, recorder, resolveUser, leases }
  const runnerConfig = runnerConfigOf(config, bootDir, known, ledger.view.head.agentId)
  const limits = { launchesAtOnce: 2 * cpus().length, maxTasks: 4_096, attemptsKept: 3, settled }
  const refusal = (): string | undefined => node.health.refusal('launch')
  const kept = composeKeptLogs(config, log)
  const tasks: Tasks = new Tasks({ ...runnerParts, refusal, keeper: kept }, { ...runnerConfig, ...limits }, onBroken)
  const collectLayers = (): Promise<unknown> => images.collect(inUse(), new AbortController().signal)
  const fsck = composeFsck({ ...parts, runtime, tasks, collectLayers, sandboxesDir: runnerConfig.sandboxesDir })
  const running = (): readonly TopTask[] => topTasks(tasks.list(), cgroupParent)
  const streams = new ContainerStreams({ runtime, clock, log }, { terminalProgram, maxStreams: 64 })
  const node = composeNodeHealth(
    {
      ...{ ledger, clock, log, layout, random: systemRandom, syncs: parts.syncs, bootId: facts.bootId, onBroken },
      registered: () => registration.registered,
      tasks: running,
      sources: [() => [...orphanMetrics(fsck.orphans()), logGapsMetric(rotation.gapsFound)]],
      plans: [orphanPlan(() => fsck.orphans()), isolatorsPlan(walls), ...dockerPlans(parts)]
    },
    { ...config, cgroupParent }
  )
  const health = async (refresh: boolean): Promise<Record<string, unknown>> => ({
    ...(await node.report(refresh)),
    ...describeAgent(ledger, known),
    registered: registration.registered,
    running: tasks.running
  })
  const inUse = (): ReadonlySet<string> => imagesOf(tasks)
  const limiting = composeLimiting({ ledger, log, layout, clock, isolators, runtime, tasks: running }, runnerConfig)
  const imageRouter = imagesOnly(imageRoutes(images, inUse), node.health)
  const apis = { ...limiting, images: imageRouter, health, node: { ...node, isolators: () => nodeIsolators(walls, known) } }
  const router = createLocalRouter({ fsck, tasks, kept, readLog, streams, ...apis, log })
  const heard = { onBroken, onAuthority: (digest: string) => renewal.noticed(digest) }
  const registration = new Registration(
    { ledger, tasks, outbox, leases, router, clock, random: systemRandom, log, health: () => node.health.report(), ...heard },
    registrationConfig(parts, known)
  )
  const renewal = composeRenewal({ ...parts, onRenewed: () => registration.reconnect(), onBroken })
  const garbage = new Garbage({ images, inUse, clock, log }, { everyMs: collectEveryMs })
  const socketPath = join(config.runDir, 'agent.sock')
  const socket = serveLocalApi({ router, log }, { path: socketPath, mode: 0o660, group: 'hearth' })
  return {
    runtime,
    leases,
    tasks,
    services: [rotation, outbox, socket, registration],
    observers: [...node.services, recorder, garbage, trash, kept, fsck, renewal],
    trash,
    prove: (signal) => proveSelf({ tasks, runner: runnerParts }, { runner: runnerConfig, socketPath, ...config.upgrade }, signal),
    clearSelfTests: () => clearSelfTests(ledger, runtime, runnerParts, runnerConfig)
  }
}

const dockerPlans = ({ facts, config: { dockerSocket } }: Parts): readonly CheckPlan[] =>
  missingOf(facts.capabilities)('runtime.docker') === undefined ? [dockerPlan(dockerSocket)] : []

/** Docker's own part is loaded when the first task asks for it. */
function composeRuntime({ config, bootDir: runDir, layout, placement: { cgroupParent }, ledger }: Parts): Runtime {
  const { sleep } = systemClock
  const { stateDir, dockerSocket } = config
  const oci = new OciRuntime({ layout, sleep }, { runDir, shimDir: join(config.runDir, 'bin'), cgroupParent, programs: config })
  let loading: Promise<Engine> | undefined
  const engine = (): Promise<Engine> => (loading ??= loadEngine(join(programs, 'docker-engine.cjs'), dockerSocket))
  const docker = new DockerRuntime(
    { layout, sleep, engine },
    {
      ...{ runDir, cgroupParent },
      askedDir: dockerAskedDir(stateDir),
      agentId: () => ledger.view.head.agentId,
      logPathOf: (containerId) => join(stateDir, 'agent/sandboxes', containerId, 'log'),
      program: dockerProgramOf(config)
    }
  )
  const rowOf = (containerId: string): TaskRow | undefined => {
    const row = ledger.view.tasks.get(containerId)?.row
    return row?.group ? row : readProvenance(runDir, containerId)?.row
  }
  return new RuntimeChoice({ oci, docker, rowOf })
}

function composeTrash(agentDir: string, log: Log): Trash {
  const onFailure = (path: string, error: unknown): void => log.warn({ path, error }, 'trash.not_deleted')
  const { sleep } = systemClock
  return new Trash({ sleep, onFailure }, { directory: join(agentDir, 'trash'), pauseMs: emptyTrashAfterMs })
}

const registrationConfig = ({ config: { stateDir }, masters }: Parts, facts: HostFacts) => ({
  masters,
  readCredentials: () => readOwnCredentials(stateDir),
  readToken: () => readToken(join(stateDir, 'agent-token')),
  version: hearthVersion,
  registration: { ...facts, version: hearthVersion }
})

/** Of the image store and of its views. */
const storePlace = ({ config: { stateDir }, facts: { bootId } }: Parts) => ({
  directory: join(stateDir, 'agent/images'),
  unpackProgram: [process.execPath, join(programs, 'unpack.cjs')],
  bootId
})

function composeImages(parts: Parts, views: ShiftedViews): Promise<LocalImageStore> {
  const { registries, proxy } = parts.config
  const config = { ...storePlace(parts), registries, proxy }
  return openImageStore({ exec: systemExec, log: parts.log, clock: systemClock, views }, config)
}

interface RenewalParts extends Pick<Parts, 'config' | 'masters' | 'log'> {
  readonly onRenewed: () => void
  readonly onBroken: (error: unknown) => void
}

function composeRenewal({ config: { stateDir }, masters, ...parts }: RenewalParts): CertificateRenewal {
  const readCredentials = () => readOwnCredentials(stateDir)
  return new CertificateRenewal(
    { ...parts, exec: systemExec, clock: systemClock, random: systemRandom, readCredentials },
    { stateDir, masters, program: [process.execPath, join(programs, 'enrol.cjs')] }
  )
}

/** Digests of the images that containers are made of. */
const imagesOf = (tasks: Tasks): ReadonlySet<string> =>
  new Set(tasks.list().flatMap((r) => (r.removed.aborted || r.imageDigest === undefined ? [] : [r.imageDigest])))

/** Devices and views of layers that are there, and time. */
const held = (parts: Parts) => ({
  views: new ShiftedViews({ exec: systemExec, log: parts.log }, storePlace(parts)),
  devices: new DeviceDesk(parts, { runDir: parts.bootDir, devices: offerDevices(parts.config.devices).present }),
  ...times
})

const composeKeptLogs = ({ stateDir, keptLogMs: keepMs, keptLogBytes: maxBytes }: AgentConfig, log: Log): KeptLogs =>
  new KeptLogs({ clock: systemClock, log }, { directory: join(stateDir, 'agent/kept-logs'), keepMs, maxBytes })

function composeLeases({ bootDir, facts, ledger, log, layout, placement: { cgroupParent } }: Parts): Leases {
  const place = monitorPlace(layout, cgroupParent)
  return new Leases(
    { clock: systemClock, bootClock: systemBootClock, log, layout, place, epoch: () => ledger.view.head.epoch },
    { bootDir, bootId: facts.bootId, cgroupParent, program: join(programs, 'lease-watchdog') }
  )
}

/** The scope that all else is made in comes first, what lets a container begin last. */
async function wallsOf(parts: Parts, trash: Trash, leases: Leases): Promise<Walls> {
  const { config, layout, placement } = parts
  const { cgroupParent, scope } = placement
  const { isolators: modules, isolatorDir: directory } = config
  const seccomp = { defaultFile: config.seccompProfile, directory: config.seccompDir }
  const { sleep } = systemClock
  const own = builtinIsolators({ trash, layout, cgroupParent, seccomp, sleep, ids: idsOfRoles })
  const builtin = [...(scope === undefined ? [] : [scope.isolator()]), ...own]
  return openWalls({ builtin, last: [leases.isolator()], log: parts.log, sleep }, { modules, directory })
}

interface FsckParts extends Pick<Parts, 'config' | 'ledger' | 'log' | 'layout' | 'placement' | 'bootDir' | 'facts' | 'isWhole'> {
  readonly runtime: Runtime
  readonly tasks: Tasks
  readonly collectLayers: () => Promise<unknown>
  readonly sandboxesDir: string
}

function composeFsck(parts: FsckParts): Fsck {
  const { ledger, log, layout, bootDir: runDir, isWhole, runtime, tasks, collectLayers, sandboxesDir } = parts
  const recovering = { runDir, bootId: parts.facts.bootId, isWhole }
  const adoptOne = (id: string): Promise<void> => adopt({ ledger, runtime, tasks, log }, recovering, id)
  const { stateDir } = parts.config
  const { agentId } = ledger.view.head
  return new Fsck(
    { ledger, clock: systemClock, exec: startExec, log, adopt: adoptOne, collectLayers },
    {
      places: {
        layout,
        cgroupParent: parts.placement.cgroupParent,
        runDir,
        stateDir,
        sandboxesDir,
        agentId,
        dockerProgram: dockerProgramOf(parts.config)
      },
      everyMs: fsckEveryMs,
      isWhole
    }
  )
}

const describeAgent = (ledger: Ledger, facts: HostFacts): Record<string, unknown> => ({
  agentId: ledger.view.head.agentId,
  clusterId: ledger.view.head.clusterId,
  version: hearthVersion,
  cgroups: facts.cgroups.mode,
  capabilities: facts.capabilities,
  quarantined: ledger.quarantined,
  diskFull: ledger.low
})

const runnerConfigOf = (config: AgentConfig, runDir: string, facts: HostFacts, agentId: string): TaskRunnerConfig => ({
  runDir,
  sandboxesDir: join(config.stateDir, 'agent/sandboxes'),
  hostname: facts.hostname,
  allowedMounts: config.allowedMounts,
  allowedDevices: config.allowedDevices,
  allowUnconfined: config.allowUnconfined,
  missing: missingOf(facts.capabilities),
  agentId,
  bootId: facts.bootId
})

/** Every path below /v1/images that comes here is one the image routes know or refuse. */
const imagesOnly =
  (routes: ReturnType<typeof imageRoutes>, health: Pick<NodeHealth, 'refusal'>): LocalRouter =>
  async (request, signal) => {
    const unfit = isImport(request) ? health.refusal('image-import') : undefined
    if (unfit !== undefined) throw new Fault('unavailable', unfit, { reason: 'node_unhealthy' })
    const response = await routes(request, signal)
    if (response === undefined) throw new Fault('not-found', `this agent has no ${request.url}`)
    return response
  }

/** `POST /v1/images?name=...` and `POST /v1/images/pull?reference=...`; the others take nothing in. */
const isImport = ({ method, url }: LocalRequest): boolean =>
  method === 'POST' && /^\/v1\/images(\/pull)?$/.test(url.split('?', 1)[0] ?? '')

/** The master writes the token; an agent that is quicker finds none yet and tries again with its next dial. */
async function readToken(path: string): Promise<string> {
  try {
    return (await readFile(path, 'utf8')).trim()
  } catch (cause) {
    throw new Fault('unavailable', `${path} cannot be read: start the master first, or copy its agent-token there`, {}, cause)
  }
}
