import { join } from 'node:path'
import { pino } from 'pino'
import { systemClock } from '../base/clock.ts'
import { faultTable, isFault } from '../base/fault.ts'
import { type Log, pinoSink } from '../base/log.ts'
import { systemRandom } from '../base/random.ts'
import { inOrder, type Service } from '../base/service.ts'
import { hearthVersion } from '../base/version.ts'
import type { ClusterId } from '../proto/ids.ts'
import { TaskBook } from '../schedulers/task/task-book.ts'
import { TaskScheduler, type TaskSchedulerConfig } from '../schedulers/task/task-scheduler.ts'
import { TaskService } from '../schedulers/task/task-service.ts'
import { frameworkOfTasks } from '../schedulers/task/task-view.ts'
import { WishStore } from '../schedulers/task/wish-store.ts'
import { AgentLinkServer } from './api/agent-link.ts'
import { HttpServer } from './api/http-server.ts'
import { AuditLog } from './audit.ts'
import { type MasterConfig, readMasterConfig } from './config.ts'
import { openReplica } from './consensus/open-replica.ts'
import { type RaftFacts, raftFacts } from './consensus/raft-facts.ts'
import { type CoreConfig, composeCore, coreDefaults } from './core.ts'
import { feedEvents, snapshotOf } from './event-source.ts'
import { Events } from './events.ts'
import { ClusterIdentity } from './identity/cluster-identity.ts'
import { ensureClusterKey } from './identity/cluster-key.ts'
import { ensureDirectories, ensureIdentity, ensureToken, hearthGroup } from './identity.ts'
import { Proposer } from './proposer.ts'
import type { Replica } from './replica.ts'
import type { ClusterState } from './state/cluster.ts'
import { signingAuthority } from './state/identities.ts'
import { walCommand } from './wal-command.ts'

const stopWithinMs = 10_000
/** Written with zeros ahead of use, up to three of them at a first start. */
const segmentBytes = 16 * 1024 * 1024

export const taskDefaults = { keepEnded: 1_000, removeAfterMs: 10_000, retryMs: 1_000 } as const

/** Runs a master until SIGTERM. Tasks and agents go on without it. Resolves with the exit code. */
export async function main(argv: readonly string[], env: Readonly<Record<string, string | undefined>>): Promise<number> {
  let log: Log | undefined
  try {
    if (argv[0] === 'wal') return await walCommand(argv.slice(1), (text) => process.stdout.write(text))
    const config = readMasterConfig(argv, env)
    const serializers = { error: pino.stdSerializers.err }
    log = pino({ level: config.logLevel, base: { room: 'master' }, serializers }, pinoSink('master', systemClock.wallMs))
    return await run(config, log)
  } catch (e) {
    const fault = faultOf(e)
    if (fault === undefined) throw e
    if (log === undefined) process.stderr.write(`hearth master: ${fault.message}\n`)
    else log.error({ code: fault.code, err: fault.message }, 'master.not_started')
    return faultTable[fault.code].exitCode
  }
}

async function run(config: MasterConfig, log: Log): Promise<number> {
  const asked = stopAsked(log)
  const { stateDir, runDir } = config
  await ensureDirectories(stateDir, runDir)
  const identity = await ensureIdentity(stateDir)
  const replica = await openReplica(
    { log, clock: systemClock },
    { directory: join(stateDir, 'master'), segmentBytes, ...identity }
  )
  replica.onFatal((failure) => {
    // Nothing that is said from here on could be kept: end at once and let the supervisor start anew.
    log.error({ err: failure.message }, 'master.log_failed')
    process.exit(faultTable.corrupt.exitCode)
  })
  const { services } = composeMaster({ replica, log }, config, {
    ...identity,
    operatorToken: await ensureToken(join(stateDir, 'token')),
    agentToken: await ensureToken(join(stateDir, 'agent-token')),
    clusterKey: await ensureClusterKey(stateDir, replica.state.authorities.size === 0),
    certificatesEveryMs: 60_000,
    socketGroup: await hearthGroup(),
    raft: () => raftFacts(replica.host),
    core: coreDefaults,
    tasks: taskDefaults
  })
  const master = inOrder('master', services, () => AbortSignal.timeout(stopWithinMs))
  try {
    await master.start()
    log.info({ ...identity, term: replica.leadership.term, stateDir }, 'master.started')
    await asked
    await master.stop(AbortSignal.timeout(stopWithinMs))
  } finally {
    await replica.close()
  }
  log.info({}, 'master.stopped')
  return 0
}

interface MasterParts {
  readonly replica: Replica & { readonly state: ClusterState }
  readonly log: Log
}

interface MasterFacts {
  readonly clusterId: ClusterId
  readonly nodeId: string
  readonly clusterKey: Uint8Array | undefined
  readonly certificatesEveryMs: number
  readonly operatorToken: string
  readonly agentToken: string
  readonly socketGroup: number | undefined
  readonly raft: () => RaftFacts
  readonly core: CoreConfig
  readonly tasks: TaskSchedulerConfig
}

/** Everything around the replica, in the order of starting. */
export function composeMaster({ replica, log }: MasterParts, config: Omit<MasterConfig, 'logLevel'>, facts: MasterFacts) {
  const clock = systemClock
  const { clusterId, nodeId } = facts
  const { heartbeatMs, missedBeats } = facts.core
  const { state, leadership } = replica
  const epoch = leadership.term
  const closing = new AbortController()
  const core = composeCore({ replica, clock, random: systemRandom, log }, { ...facts.core, restarting: [frameworkOfTasks] })
  const book = new TaskBook()
  const wishes = new WishStore(core.link.store)
  const scheduler = new TaskScheduler({ link: core.link, wishes, book, clock, log }, facts.tasks)
  wishes.onWished((taskId, wish, version) => scheduler.wished(taskId, wish, version))
  const tasks = new TaskService({ link: core.link, scheduler, wishes, book, clock })
  const events = new Events(epoch, { window: 10_000 })
  feedEvents({ events, changes: core.changes, nodes: core.nodes, tasks }, closing.signal)
  const agentLink = new AgentLinkServer(
    {
      desk: core.desk,
      clock,
      log,
      facts: () => ({ clusterId, nodeId, epoch: leadership.term, authority: signingAuthority(state)?.digest ?? '' })
    },
    {
      socketPath: join(config.runDir, 'agents.sock'),
      tcp: config.agentListen,
      token: facts.agentToken,
      heartbeatMs,
      missedBeats,
      handshakeMs: 5_000,
      answerMs: 60_000
    }
  )
  const proposer = new Proposer({ replica, clock }, { sessions: 8, waiting: 1_024, repeatMs: 50 })
  const audit = new AuditLog(join(config.stateDir, 'audit.log'), log)
  const identity = composeIdentity(
    {
      ...{ replica, clock, log, proposer },
      agents: (socket, visitor) => agentLink.accept(socket, visitor),
      http: (socket, visitor) => http.accept(socket, visitor)
    },
    config,
    facts
  )
  const http = new HttpServer(
    {
      desk: identity.desk,
      remover: core.removals,
      ...{ audit, clock, operators: { state, proposer, audit } },
      tasks,
      nodes: core.nodes,
      tenants: core.tenants,
      whereabouts: core.whereabouts,
      events,
      snapshot: (wanted) => snapshotOf({ nodes: core.nodes, tasks }, wanted),
      facts: () => ({ clusterId, nodeId, term: epoch, index: state.index, featureLevel: state.featureLevel, epoch }),
      raft: facts.raft,
      log,
      onBroken: (e) => void Promise.reject(e)
    },
    {
      version: hearthVersion,
      socketPath: join(config.runDir, 'master.sock'),
      socketGroup: facts.socketGroup,
      loopback: config.http,
      addressPath: join(config.runDir, 'http'),
      token: facts.operatorToken,
      events: { maxBehind: 1_000, heartbeatMs: 15_000, maxReaders: 1_000 }
    }
  )
  const services: readonly Service[] = [audit, ...core.services, scheduler, agentLink, http, identity]
  return { services, core, tasks, agentLink, http, events, identity }
}

function composeIdentity(
  parts: Omit<ConstructorParameters<typeof ClusterIdentity>[0], 'mayRaiseLevel'>,
  { stateDir, runDir, listen, advertise: hosts }: Omit<MasterConfig, 'logLevel'>,
  { clusterId, nodeId, clusterKey, raft, certificatesEveryMs: lookEveryMs }: MasterFacts
): ClusterIdentity {
  // Alone, it knows what every voter knows.
  const mayRaiseLevel = (): boolean => raft().members.length <= 1
  const addressPath = join(runDir, 'listen')
  return new ClusterIdentity(
    { ...parts, mayRaiseLevel },
    { clusterId, nodeId, clusterKey, stateDir, addressPath, listen, hosts, lookEveryMs }
  )
}

/** Resolves at the first SIGTERM or SIGINT; the second one ends the process. */
function stopAsked(log: Log): Promise<void> {
  process.on('unhandledRejection', (e) => {
    log.error({ err: e instanceof Error ? (e.stack ?? e.message) : String(e) }, 'master.broken')
    process.exit(1)
  })
  return new Promise((resolve) => {
    let asked = 0
    const stop = (signal: NodeJS.Signals): void => {
      asked += 1
      if (asked > 1) process.exit(1)
      log.info({ signal }, 'master.stop_asked')
      resolve()
    }
    process.on('SIGTERM', stop)
    process.on('SIGINT', stop)
  })
}

/** `inOrder` wraps what kept a part from starting. */
function faultOf(e: unknown) {
  if (isFault(e)) return e
  return e instanceof Error && isFault(e.cause) ? e.cause : undefined
}
