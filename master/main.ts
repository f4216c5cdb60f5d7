import { join } from 'node:path'
import { pino } from 'pino'
import { systemClock } from '../base/clock.ts'
import { faultTable, isFault } from '../base/fault.ts'
import { type Log, pinoSink } from '../base/log.ts'
import { systemRandom } from '../base/random.ts'
import { inOrder, type Service } from '../base/service.ts'
import { hearthVersion } from '../base/version.ts'
import type { OperatorRow } from '../proto/gen/messages.ts'
import type { ClusterId } from '../proto/ids.ts'
import { TaskBook } from '../schedulers/task/task-book.ts'
import { TaskScheduler, type TaskSchedulerConfig } from '../schedulers/task/task-scheduler.ts'
import { TaskService } from '../schedulers/task/task-service.ts'
import { frameworkOfTasks } from '../schedulers/task/task-view.ts'
import { WishStore } from '../schedulers/task/wish-store.ts'
import { AgentDoors } from './api/agent-doors.ts'
import { AgentLinkServer } from './api/agent-link.ts'
import { versionAnswer } from './api/cluster.ts'
import { Doors } from './api/doors.ts'
import { HttpServer } from './api/http-server.ts'
import type { RaftDesk } from './api/raft.ts'
import { RelayToLeader } from './api/relay-to-leader.ts'
import { Validators } from './api/validators.ts'
import { AuditLog } from './audit.ts'
import { agentAddress, type MasterConfig, peerAddress, readMasterConfig } from './config.ts'
import { type CoreConfig, composeCore, coreDefaults } from './core.ts'
import { feedEvents, snapshotOf } from './event-source.ts'
import { Events } from './events.ts'
import { ClusterIdentity } from './identity/cluster-identity.ts'
import { ensureClusterKey } from './identity/cluster-key.ts'
import type { CredentialsBoard } from './identity/credentials-board.ts'
import { issueByLeader } from './identity/leader-desk.ts'
import { ensureDirectories, ensureToken, hearthGroup } from './identity.ts'
import { Members } from './members.ts'
import { membersFacts } from './members-facts.ts'
import { raftMetrics, watchLoopDelay } from './metrics.ts'
import { offlineCommand, offlineCommands } from './offline-command.ts'
import { Proposer } from './proposer.ts'
import { rehearsal } from './rehearsal.ts'
import type { Replica } from './replica.ts'
import { Serving, type TermRooms } from './serving.ts'
import type { ClusterState } from './state/cluster.ts'
import { signingAuthority } from './state/identities.ts'
import { findSelf, type OwnReplica, openOwnReplica, tokenPaths } from './take-part.ts'
import { walCommand } from './wal-command.ts'

const stopWithinMs = 10_000

export const taskDefaults = { keepEnded: 1_000, removeAfterMs: 10_000, retryMs: 1_000 } as const

/** Runs a master until SIGTERM. Tasks and agents go on without it. Resolves with the exit code. */
export async function main(argv: readonly string[], env: Readonly<Record<string, string | undefined>>): Promise<number> {
  let log: Log | undefined
  try {
    if (argv[0] === 'wal') return await walCommand(argv.slice(1), (text) => process.stdout.write(text))
    if (offlineCommands.includes(argv[0] ?? '')) {
      return await offlineCommand(argv, systemClock.wallMs(), (text) => process.stdout.write(text))
    }
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
  const self = await findSelf(config, log, asked)
  if (self === undefined) return 0
  const { identity, board } = self
  const replica = await openOwnReplica(config, identity, { log, board })
  replica.onFatal((failure) => {
    // Nothing that is said from here on could be kept: end at once and let the supervisor start anew.
    log.error({ err: failure.message }, 'master.log_failed')
    process.exit(failure.code === 'unsupported' ? faultTable.unsupported.exitCode : faultTable.corrupt.exitCode)
  })
  const paths = tokenPaths(stateDir)
  const facts = {
    ...identity,
    operatorToken: await ensureToken(paths.operator),
    agentToken: await ensureToken(paths.agent),
    // Who does not lead yet has nothing of the log yet either: another key would open nothing.
    clusterKey: await ensureClusterKey(stateDir, replica.leadership.leading && replica.state.authorities.size === 0),
    certificatesEveryMs: 60_000,
    rebuildsFromAgents: config.rebuildsFromAgents,
    socketGroup: await hearthGroup(),
    core: { ...coreDefaults, goneAfterMs: config.agentGoneAfterMs },
    tasks: taskDefaults
  }
  const master = inOrder('master', composeServing({ replica, log, board }, config, facts), () =>
    AbortSignal.timeout(stopWithinMs)
  )
  try {
    await master.start()
    log.info({ ...identity, term: replica.leadership.term, stateDir }, 'master.started')
    await ended(asked)
    // Another leads before the doors close: who comes then is relayed.
    await replica.transfer()
    await master.stop(AbortSignal.timeout(stopWithinMs))
  } finally {
    await replica.close()
  }
  log.info({}, 'master.stopped')
  return 0
}

interface ServingParts {
  readonly replica: OwnReplica
  readonly log: Log
  readonly board: CredentialsBoard | undefined
}

/** Doors, and behind them the rooms of each term that this master leads. */
function composeServing(
  { replica, log, board }: ServingParts,
  config: Omit<MasterConfig, 'logLevel'>,
  facts: Omit<MasterFacts, 'raft'>
): readonly Service[] {
  const { caller, leadership } = replica
  const own = { facts: () => replica.facts(), caller }
  const { clusterId, formerClusterIds, operatorToken, agentToken, clusterKey } = facts
  const { peerListen } = config
  const addresses = { address: peerListen === undefined ? '' : peerAddress(peerListen), agentAddress: agentAddress(config) }
  const loopDelay = watchLoopDelay()
  const shared = {
    facts: own.facts,
    members: (signal: AbortSignal) => membersFacts(own, signal),
    metrics: async () => raftMetrics(await own.facts(), replica.figures(), loopDelay())
  }
  const answers: Readonly<Record<string, () => Promise<unknown>>> = {
    '/v1/version': async () => versionAnswer(hearthVersion),
    '/v1/raft': shared.facts,
    '/v1/raft/members': () => shared.members(new AbortController().signal),
    '/metrics': shared.metrics
  }
  const name = { clusterId, nodeId: facts.nodeId, hostname: config.advertise[0] ?? '' }
  const follower = new RelayToLeader({ ...own, own: (path) => answers[path], clock: systemClock, log })
  const wardens = composeWardens({ replica, log }, config, facts, {
    agents: (socket, visitor) => serving.desk.agent(socket, visitor),
    http: (socket, visitor) => doors.http.accept(socket, visitor),
    board,
    peers: replica,
    leader: (request, signal) =>
      issueByLeader({ state: replica.state, post: (...of) => follower.post(...of) }, name, request, signal)
  })
  const validators = new Validators()
  const composeTerm = () => {
    const members = new Members(
      { replica, caller, proposer: wardens.proposer, clock: systemClock, log },
      { clusterId, formerClusterIds, operatorToken, agentToken, clusterKey, ...addresses }
    )
    const raft: RaftDesk = {
      ...shared,
      add: (address) => members.add(address),
      replace: (raftId, address) => members.replace(raftId, address),
      remove: (raftId) => members.remove(raftId),
      transfer: (to) => members.transfer(to),
      snapshot: () => members.snapshot(),
      backup: () => members.backup()
    }
    const agentAddresses = (): readonly string[] => members.agentAddresses
    return { members, ...composeMaster({ replica, log, agentAddresses, validators, ...wardens }, { ...facts, raft }) }
  }
  const compose = (): TermRooms => {
    const { members, services, http, agentLink } = composeTerm()
    return {
      services: inOrder('term', [members, ...services], () => AbortSignal.timeout(stopWithinMs)),
      http: (request, response) => http.answer(request, response),
      agent: (socket, visitor) => agentLink.accept(socket, visitor)
    }
  }
  const cut = (): void => doors.http.cut()
  const serving = new Serving(
    { leadership, compose, follower, cut, log, onBroken: (e) => void Promise.reject(e) },
    { stopWithinMs }
  )
  const doors = composeDoors(() => serving.desk, { log, operators: () => replica.state.operators }, config, facts)
  return [rehearsal({ leadership, compose: composeTerm }), wardens.audit, serving, doors.agents, doors.http, wardens.identity]
}

/** Where people and agents come in; they outlast each leader. */
export function composeDoors(
  desk: () => Pick<TermRooms, 'http' | 'agent'>,
  { log, operators }: { readonly log: Log; readonly operators: () => ReadonlyMap<string, OperatorRow> },
  { runDir, http, agentListen }: Pick<MasterConfig, 'runDir' | 'http' | 'agentListen'>,
  { socketGroup, operatorToken }: Pick<MasterFacts, 'socketGroup' | 'operatorToken'>
) {
  return {
    http: new Doors(
      { log, operators, clock: systemClock, answering: () => (request, response) => desk().http(request, response) },
      {
        socketPath: join(runDir, 'master.sock'),
        socketGroup,
        loopback: http,
        addressPath: join(runDir, 'http'),
        token: operatorToken
      }
    ),
    agents: new AgentDoors(
      { log, taking: () => (socket) => desk().agent(socket) },
      { socketPath: join(runDir, 'agents.sock'), tcp: agentListen }
    )
  }
}

type WardenConfig = Pick<MasterConfig, 'stateDir' | 'runDir' | 'listen' | 'advertise'>

interface Wardens {
  readonly identity: ClusterIdentity
  readonly proposer: Proposer
  readonly audit: AuditLog
}

/** Who is let in from other hosts, and what of it is written down; they too outlast each leader. */
export function composeWardens(
  { replica, log }: Pick<MasterParts, 'replica' | 'log'>,
  { stateDir, runDir, listen, advertise: hosts }: WardenConfig,
  { clusterId, nodeId, clusterKey, certificatesEveryMs: lookEveryMs }: WardenFacts,
  doors: Pick<ConstructorParameters<typeof ClusterIdentity>[0], 'agents' | 'http' | 'board' | 'leader' | 'peers'>
): Wardens {
  const clock = systemClock
  const proposer = new Proposer({ replica, clock }, { sessions: 8, waiting: 1_024, repeatMs: 50 })
  const identity = new ClusterIdentity(
    { ...{ replica, clock, log, proposer }, ...doors },
    { clusterId, nodeId, clusterKey, stateDir, addressPath: join(runDir, 'listen'), listen, hosts, lookEveryMs }
  )
  return { identity, proposer, audit: new AuditLog(join(stateDir, 'audit.log'), log) }
}

interface MasterParts extends Wardens {
  readonly replica: Replica & { readonly state: ClusterState }
  readonly log: Log
  readonly agentAddresses?: () => readonly string[]
  /** Those of all terms. */
  readonly validators?: Validators
}

interface WardenFacts {
  readonly clusterId: ClusterId
  readonly nodeId: string
  readonly clusterKey: Uint8Array | undefined
  readonly certificatesEveryMs: number
}

interface MasterFacts extends WardenFacts {
  readonly formerClusterIds: readonly string[]
  readonly operatorToken: string
  readonly agentToken: string
  readonly socketGroup: number | undefined
  readonly raft: RaftDesk
  readonly rebuildsFromAgents?: boolean
  readonly core: CoreConfig
  readonly tasks: TaskSchedulerConfig
}

/** The rooms of a master that leads, in the order of starting. */
export function composeMaster(
  { replica, log, agentAddresses = () => [], validators = new Validators(), identity, proposer, audit }: MasterParts,
  facts: Omit<MasterFacts, 'operatorToken' | 'socketGroup' | 'clusterKey' | 'certificatesEveryMs'>
) {
  const clock = systemClock
  const { clusterId, nodeId, formerClusterIds } = facts
  const { heartbeatMs, missedBeats } = facts.core
  const { state, leadership } = replica
  const epoch = leadership.term
  const closing = new AbortController()
  const core = composeCore(
    {
      ...{ replica, clock, random: systemRandom, log, agentAddresses, members: () => facts.raft.facts() },
      rebuild: facts.rebuildsFromAgents === true ? (...of) => wishes.rebuilt(...of) : undefined
    },
    { ...facts.core, restarting: [frameworkOfTasks] }
  )
  const book = new TaskBook()
  const wishes = new WishStore(core.link.store)
  const scheduler = new TaskScheduler({ link: core.link, wishes, book, clock, log }, facts.tasks)
  wishes.onWished((taskId, wish, version) => scheduler.wished(taskId, wish, version))
  const tasks = new TaskService({ link: core.link, scheduler, wishes, book, clock })
  const events = new Events(epoch, { window: 10_000 })
  feedEvents({ events, changes: core.changes, nodes: core.nodes, leases: core.leases, tasks }, closing.signal)
  const agentLink = new AgentLinkServer(
    {
      desk: core.desk,
      clock,
      log,
      facts: () => ({
        ...{ clusterId, nodeId, epoch, formerClusterIds, wantsDefinitions: facts.rebuildsFromAgents ?? false },
        authority: signingAuthority(state)?.digest ?? ''
      })
    },
    { token: facts.agentToken, heartbeatMs, missedBeats, handshakeMs: 5_000, answerMs: 60_000 }
  )
  const http = new HttpServer(
    {
      tasks,
      nodes: core.nodes,
      tenants: core.tenants,
      whereabouts: core.whereabouts,
      leases: core.leases,
      events,
      snapshot: (wanted) => snapshotOf({ nodes: core.nodes, leases: core.leases, tasks }, wanted),
      facts: () => ({ clusterId, nodeId, term: epoch, index: state.index, featureLevel: state.featureLevel, epoch }),
      raft: facts.raft,
      upToDate: core.upToDate,
      desk: identity.desk,
      remover: core.removals,
      ...{ audit, clock, validators, operators: { state, proposer, audit } },
      log,
      onBroken: (e) => void Promise.reject(e)
    },
    { version: hearthVersion, events: { maxBehind: 1_000, heartbeatMs: 15_000, maxReaders: 1_000 } }
  )
  const services: readonly Service[] = [...core.services, scheduler, agentLink, http]
  return { services, core, tasks, agentLink, http, events }
}

const ended = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve()
    signal.addEventListener('abort', () => resolve(), { once: true })
  })

/** Aborts at the first SIGTERM or SIGINT; the second one ends the process. */
function stopAsked(log: Log): AbortSignal {
  const first = new AbortController()
  process.on('unhandledRejection', (e) => {
    log.error({ err: e instanceof Error ? (e.stack ?? e.message) : String(e) }, 'master.broken')
    process.exit(1)
  })
  const stop = (signal: NodeJS.Signals): void => {
    if (first.signal.aborted) process.exit(1)
    log.info({ signal }, 'master.stop_asked')
    first.abort()
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
  return first.signal
}

/** `inOrder` wraps what kept a part from starting. */
function faultOf(e: unknown) {
  if (isFault(e)) return e
  return e instanceof Error && isFault(e.cause) ? e.cause : undefined
}
