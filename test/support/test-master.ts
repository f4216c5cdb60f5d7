import { mkdtemp, rm } from 'node:fs/promises'
import { request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Fault } from '../../base/fault.ts'
import { silentLog } from '../../base/log.ts'
import { inOrder } from '../../base/service.ts'
import type { RaftDesk } from '../../master/api/raft.ts'
import type { RaftFacts } from '../../master/consensus/raft-facts.ts'
import { type CoreConfig, coreDefaults } from '../../master/core.ts'
import type { ClusterIdentity } from '../../master/identity/cluster-identity.ts'
import type { Visitor } from '../../master/identity/guard.ts'
import { composeDoors, composeMaster, composeWardens, taskDefaults } from '../../master/main.ts'
import { raftMetrics } from '../../master/metrics.ts'
import { clusterId as clusterIdOf, newClusterId, newNodeId } from '../../proto/ids.ts'
import { MemoryReplica } from './memory-replica.ts'

export interface Answer {
  readonly status: number
  // biome-ignore lint/suspicious/noExplicitAny: the shape of each answer is what its test is about
  readonly body: any
}

export interface TestMaster {
  readonly dir: string
  readonly agents: string
  readonly socket: string
  readonly token: string
  readonly replica: MemoryReplica
  readonly master: ReturnType<typeof composeMaster> & { readonly identity: ClusterIdentity }
  call(method: string, path: string, body?: unknown): Promise<Answer>
  open(method: string, path: string, body?: AsyncIterable<Uint8Array>, headers?: Record<string, string>): Promise<IncomingMessage>
  stop(): Promise<void>
}

export const agentToken = 'agent-token-of-the-test'
export const operatorToken = 'operator-token-of-the-test'

/** A replica in memory has no log to tell of. */
const aloneInMemory: RaftFacts = {
  raftId: 1,
  role: 'leader',
  term: 1,
  leader: 1,
  lastIndex: 0,
  committed: 0,
  applied: 0,
  snapshotIndex: 0,
  segments: 0,
  isDiskFull: false,
  members: [],
  highestRaftId: 1
}

const none = (): Promise<never> => Promise.reject(new Fault('unsupported', 'a replica in memory has no members'))
const noMembers: RaftDesk = {
  facts: () => Promise.resolve(aloneInMemory),
  members: () => Promise.resolve({ askedRaftId: 1, leader: 1, term: 1, members: [] }),
  metrics: () => Promise.resolve(raftMetrics(aloneInMemory)),
  add: none,
  replace: none,
  remove: none,
  transfer: none,
  snapshot: none,
  backup: none
}

/** A whole master around a replica in memory, in a folder of its own. */
export async function startTestMaster(
  core: Partial<CoreConfig> = {},
  replica = new MemoryReplica(),
  tasks: { readonly keepEnded?: number; readonly removeAfterMs?: number } = {},
  secure?: { readonly host: string; readonly port: number; readonly lookEveryMs?: number }
): Promise<TestMaster> {
  const dir = await mkdtemp(join(tmpdir(), 'hearth-'))
  const clusterId = newClusterId()
  if (replica.state.clusterId === '') await replica.propose('', 0, { initCluster: { clusterId } })
  const facts = {
    clusterId: clusterIdOf(replica.state.clusterId),
    nodeId: newNodeId(),
    clusterKey: new Uint8Array(32).fill(7),
    certificatesEveryMs: secure?.lookEveryMs ?? 60_000,
    formerClusterIds: [],
    agentToken,
    raft: noMembers,
    core: { ...coreDefaults, ...core },
    tasks: { ...taskDefaults, ...tasks }
  }
  const wardens = composeWardens(
    { replica, log: silentLog },
    { stateDir: dir, runDir: dir, listen: secure, advertise: ['localhost'] },
    facts,
    {
      agents: (socket, visitor) => desk.agent(socket, visitor),
      http: (socket, visitor) => doors.http.accept(socket, visitor)
    }
  )
  const master = composeMaster({ replica, log: silentLog, ...wardens }, facts)
  const desk = {
    http: (request: IncomingMessage, response: ServerResponse) => master.http.answer(request, response),
    agent: (socket: Socket, visitor?: Visitor) => master.agentLink.accept(socket, visitor)
  }
  const listen = { runDir: dir, http: { host: '127.0.0.1', port: 0 }, agentListen: undefined }
  const parties = { log: silentLog, operators: () => replica.state.operators }
  const doors = composeDoors(() => desk, parties, listen, { operatorToken, socketGroup: undefined })
  const parts = [wardens.audit, ...master.services, doors.agents, doors.http, wardens.identity]
  const services = inOrder('test master', parts, () => AbortSignal.timeout(2_000))
  await services.start()
  const socket = join(dir, 'master.sock')
  return {
    dir,
    socket,
    agents: join(dir, 'agents.sock'),
    token: agentToken,
    replica,
    master: { ...master, identity: wardens.identity },
    call: (method, path, body) => call(socket, method, path, body),
    open: (method, path, body, headers) => open(socket, method, path, body, headers),
    async stop() {
      await services.stop(AbortSignal.timeout(2_000))
      await rm(dir, { recursive: true, force: true })
    }
  }
}

async function call(socketPath: string, method: string, path: string, body?: unknown): Promise<Answer> {
  const bytes = body === undefined ? undefined : Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body))
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const headers = bytes === undefined ? {} : { 'content-type': 'application/json', 'content-length': bytes.length }
    const request = httpRequest({ socketPath, method, path, headers, agent: false }, resolve)
    request.on('error', reject)
    request.end(bytes)
  })
  const text = await textOf(response)
  return { status: response.statusCode ?? 0, body: text === '' ? undefined : JSON.parse(text) }
}

function open(
  socketPath: string,
  method: string,
  path: string,
  body?: AsyncIterable<Uint8Array>,
  headers: Record<string, string> = {}
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ socketPath, method, path, headers, agent: false }, resolve)
    request.on('error', reject)
    if (body === undefined) request.end()
    else {
      request.flushHeaders()
      void send(request, body).catch(() => undefined) // A refused body is part of some tests.
    }
  })
}

async function send(request: ReturnType<typeof httpRequest>, body: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const chunk of body) {
    await new Promise<void>((resolve, reject) => request.write(chunk, (e) => (e ? reject(e) : resolve())))
  }
  request.end()
}

export async function textOf(body: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = []
  for await (const chunk of body) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}
