import { readFile } from 'node:fs/promises'
import { cpus } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { pino } from 'pino'
import { systemClock } from '../base/clock.ts'
import { Fault, faultTable, isFault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import { systemRandom } from '../base/random.ts'
import { inOrder, type Service } from '../base/service.ts'
import { hearthVersion } from '../base/version.ts'
import { builtinIsolators } from '../isolators/builtin.ts'
import { readCgroupLayout } from '../isolators/cgroup2/layout.ts'
import { OciRuntime } from '../isolators/runtime/oci/oci.ts'
import { newNodeId } from '../proto/ids.ts'
import { type AgentConfig, readAgentConfig } from './config.ts'
import { Garbage } from './garbage.ts'
import { placeBootDirectory, removeBootDirectory } from './host/boot-directory.ts'
import { systemRoots } from './host/cgroups.ts'
import { systemExec } from './host/exec.ts'
import { type HostFacts, readHostFacts } from './host/facts.ts'
import { readHardware } from './host/hardware.ts'
import { imageRoutes } from './images/routes.ts'
import { openImageStore } from './images/store.ts'
import { resolveUser } from './images/users.ts'
import { openLedger } from './ledger/ledger.ts'
import { createLocalRouter } from './local-api/router.ts'
import { serveLocalApi } from './local-api/server.ts'
import { ContainerStreams } from './local-api/task-streams.ts'
import { readLog } from './logs/reader.ts'
import { LogRotation } from './logs/rotation.ts'
import type { Ledger, LocalRouter } from './ports.ts'
import { reattach } from './reattach.ts'
import { Registration } from './registration.ts'
import { StatusOutbox } from './status-outbox.ts'
import { Tasks } from './tasks.ts'

const programs = dirname(fileURLToPath(import.meta.url))
const stopWithinMs = 10_000
const stopWorkloadsWithinMs = 60_000
const collectEveryMs = 3_600_000

/** Runs an agent until SIGTERM. Its tasks go on without it. Resolves with the exit code. */
export async function main(argv: readonly string[], env: Readonly<Record<string, string | undefined>>): Promise<number> {
  let log: Log | undefined
  try {
    const config = readAgentConfig(argv, env)
    const serializers = { error: pino.stdSerializers.err }
    log = pino({ level: config.logLevel, base: { room: 'agent' }, serializers }, pino.destination({ sync: true }))
    return await run(config, log)
  } catch (e) {
    if (!isFault(e)) throw e
    process.stderr.write(`hearth agent: ${e.message}\n`)
    log?.error({ code: e.code, fault: e.message }, 'agent.not_started')
    return faultTable[e.code].exitCode
  }
}

async function run(config: AgentConfig, log: Log): Promise<number> {
  const end = new Ending(log)
  const facts = await readHostFacts({ exec: systemExec, roots: systemRoots }, { stateDir: config.stateDir }, end.signal)
  const ledger = await openLedger(
    { log, onFatal: (fault) => end.broken(fault) },
    { directory: join(config.stateDir, 'agent/ledger') }
  )
  if (ledger.view.head.agentId === '') {
    await ledger.append({ head: { ...ledger.view.head, agentId: newNodeId() } }, 'disk')
  }
  const bootDir = placeBootDirectory(config.runDir)
  const agent = await compose({ ...config, bootDir }, facts, ledger, log, end)
  await agent.runtime.start()
  await reattach({ ledger, runtime: agent.runtime, tasks: agent.tasks, log }, { runDir: bootDir, bootId: facts.bootId })
  if (config.stopWorkloads) {
    await agent.tasks.stopAll(AbortSignal.timeout(stopWorkloadsWithinMs))
    await agent.tasks.idle()
  } else {
    const services = inOrder('agent', agent.services, () => AbortSignal.timeout(stopWithinMs))
    await services.start()
    log.info(
      { agentId: ledger.view.head.agentId, cgroups: facts.cgroups.mode, stateDir: config.stateDir, bootDir },
      'agent.started'
    )
    await end.asked
    await services.stop(AbortSignal.timeout(stopWithinMs))
  }
  await agent.runtime.stop()
  removeBootDirectory(config.runDir, bootDir)
  await ledger.close()
  log.info({ code: end.code }, 'agent.stopped')
  return end.code
}

interface Agent {
  readonly runtime: OciRuntime
  readonly tasks: Tasks
  readonly services: readonly Service[]
}

async function compose(
  config: AgentConfig & { readonly bootDir: string },
  facts: HostFacts,
  ledger: Ledger,
  log: Log,
  end: Ending
): Promise<Agent> {
  const clock = systemClock
  const { runDir, bootDir, cgroupParent } = config
  const layout = readCgroupLayout()
  const agentDir = join(config.stateDir, 'agent')
  const unpackProgram = [process.execPath, join(programs, 'unpack.cjs')]
  const images = await openImageStore({ exec: systemExec, log, clock }, { directory: join(agentDir, 'images'), unpackProgram })
  const runtime = new OciRuntime(
    { layout, sleep: clock.sleep },
    { runDir: bootDir, shimDir: join(runDir, 'bin'), cgroupParent, programs: config }
  )
  const isolators = builtinIsolators({ layout, cgroupParent, seccompProfile: config.seccompProfile, sleep: clock.sleep })
  const outbox = new StatusOutbox({ ledger, clock, random: systemRandom, log })
  const rotation = new LogRotation({ clock, log })
  const tasks = new Tasks(
    { ledger, outbox, images, runtime, isolators, clock, log, rotation, resolveUser },
    {
      runDir: bootDir,
      sandboxesDir: join(agentDir, 'sandboxes'),
      hostname: facts.hostname,
      allowedMounts: config.allowedMounts,
      allowUnconfined: config.allowUnconfined,
      agentId: ledger.view.head.agentId,
      bootId: facts.bootId,
      launchesAtOnce: 2 * cpus().length,
      maxTasks: 4_096
    },
    (error) => end.broken(error)
  )
  const terminalProgram = [process.execPath, join(programs, 'terminal.cjs')]
  const streams = new ContainerStreams({ runtime, clock, log }, { terminalProgram, maxStreams: 64 })
  const health = async (): Promise<Record<string, unknown>> => ({
    hardware: await readHardware(),
    agentId: ledger.view.head.agentId,
    clusterId: ledger.view.head.clusterId,
    version: hearthVersion,
    registered: registration.registered,
    cgroups: facts.cgroups.mode,
    running: tasks.running,
    capabilities: facts.capabilities,
    quarantined: ledger.quarantined,
    diskFull: ledger.low
  })
  const inUse = (): ReadonlySet<string> =>
    new Set(tasks.list().flatMap((r) => (r.removed.aborted || r.imageDigest === undefined ? [] : [r.imageDigest])))
  const router = createLocalRouter({ tasks, readLog, streams, images: imagesOnly(imageRoutes(images, inUse)), health, log })
  const registration = new Registration(
    { ledger, tasks, outbox, router, clock, random: systemRandom, log, onBroken: (error) => end.broken(error) },
    {
      masters: config.masters,
      readToken: () => readToken(join(config.stateDir, 'agent-token')),
      version: hearthVersion,
      registration: { ...facts, version: hearthVersion }
    }
  )
  const garbage = new Garbage({ images, inUse, clock, log }, { everyMs: collectEveryMs })
  const socket = serveLocalApi({ router, log }, { path: join(runDir, 'agent.sock'), mode: 0o660, group: 'hearth' })
  return { runtime, tasks, services: [rotation, outbox, garbage, socket, registration] }
}

/** Every path below /v1/images that comes here is one the image routes know or refuse. */
const imagesOnly =
  (routes: ReturnType<typeof imageRoutes>): LocalRouter =>
  async (request, signal) => {
    const response = await routes(request, signal)
    if (response === undefined) throw new Fault('not-found', `this agent has no ${request.url}`)
    return response
  }

/** The master writes the token; an agent that is quicker finds none yet and tries again with its next dial. */
async function readToken(path: string): Promise<string> {
  try {
    return (await readFile(path, 'utf8')).trim()
  } catch (cause) {
    throw new Fault('unavailable', `${path} cannot be read: start the master first, or copy its agent-token there`, {}, cause)
  }
}

/** Why and when this process ends: a signal, or a part that is broken. */
class Ending {
  readonly asked: Promise<void>
  readonly #stop = new AbortController()
  readonly #log: Log
  code = 0

  constructor(log: Log) {
    this.#log = log
    this.asked = new Promise((resolve) => this.signal.addEventListener('abort', () => resolve(), { once: true }))
    for (const name of ['SIGTERM', 'SIGINT'] as const) process.on(name, () => this.#asked(name))
    process.on('unhandledRejection', (error) => this.broken(error))
    process.on('uncaughtException', (error) => this.broken(error))
  }

  get signal(): AbortSignal {
    return this.#stop.signal
  }

  /** A dead ledger or a broken invariant: end at once, the supervisor starts a new agent, the ledger brings it back. */
  broken(error: unknown): void {
    this.#log.error({ error }, 'agent.broken')
    process.exit(isFault(error) ? faultTable[error.code].exitCode : 1)
  }

  #asked(name: string): void {
    if (this.signal.aborted) process.exit(1)
    this.#log.info({ signal: name }, 'agent.stop_requested')
    this.#stop.abort(new Fault('unavailable', 'the agent stops'))
  }
}
