import type { IncomingMessage } from 'node:http'
import { streamContentType } from '../proto/stream-frame.ts'
import type { Endpoint } from './endpoint.ts'
import type { FsckReport } from './fsck-messages.ts'
import { type HttpRequest, readJson } from './http.ts'
import type { AuditEntry, IdentityOverview, OperatorFacts, OperatorRequest, TokenRequest } from './identity-messages.ts'
import type { Collected, Image, ImageDetails, Pruned } from './image-messages.ts'
import { Masters } from './masters.ts'
import type {
  ClusterFacts,
  Explanation,
  FileEntry,
  Node,
  NodeHealthAnswer,
  NodeIsolators,
  NodeTop,
  Task,
  TaskDetails,
  TaskRequest,
  TaskStats,
  Tenant,
  TenantChange,
  UpdateRequest,
  VersionFacts
} from './operator-messages.ts'
import type { AddedMember, MembersFacts } from './raft-messages.ts'
import { readStream, type StreamPart } from './stream.ts'

export interface LogOptions {
  readonly follow?: boolean
  readonly tail?: number
  readonly stream?: 'stdout' | 'stderr'
  readonly sinceMs?: number
  readonly untilMs?: number
  /** Absent: the newest; a follower then goes on with each attempt that comes after it. */
  readonly attempt?: number
}

export type Query = Readonly<Record<string, string | number | boolean | undefined>>
type Bytes = AsyncIterable<Uint8Array>

/** The operator API, call by call. Every call rejects with the Fault that the master sent. */
export class OperatorClient {
  readonly tasks: TaskCalls
  readonly nodes: NodeCalls
  readonly raft: RaftCalls
  readonly identity: IdentityCalls
  readonly tenants: TenantCalls
  readonly #send: Send

  /** One master, or several of one cluster. */
  constructor(endpoints: Endpoint | readonly Endpoint[]) {
    const masters = new Masters('kind' in endpoints ? [endpoints] : endpoints)
    const send: Send = (request, signal) => masters.send(request, signal)
    this.#send = send
    this.tasks = new TaskCalls(send)
    this.nodes = new NodeCalls(send)
    this.raft = new RaftCalls(send)
    this.identity = new IdentityCalls(send)
    this.tenants = new TenantCalls(send)
  }

  version(signal: AbortSignal): Promise<VersionFacts> {
    return this.#get('/v1/version', signal)
  }

  cluster(signal: AbortSignal): Promise<ClusterFacts> {
    return this.#get('/v1/cluster', signal)
  }

  async #get<T>(path: string, signal: AbortSignal): Promise<T> {
    return (await readJson(await this.#send({ method: 'GET', path }, signal))) as T
  }
}

/** The log that the masters agree on. */
class RaftCalls {
  readonly #send: Send

  constructor(send: Send) {
    this.#send = send
  }

  /** How each of the masters sees it; any master answers, also while none leads. */
  members(signal: AbortSignal): Promise<MembersFacts> {
    return json(this.#send, 'GET', '/v1/raft/members', undefined, signal)
  }

  add(address: string, signal: AbortSignal): Promise<AddedMember> {
    return json(this.#send, 'POST', '/v1/raft/members', { address }, signal)
  }

  replace(raftId: number, address: string, signal: AbortSignal): Promise<AddedMember> {
    return json(this.#send, 'POST', `/v1/raft/members/${raftId}/replace`, { address }, signal)
  }

  async remove(raftId: number, signal: AbortSignal): Promise<void> {
    await json(this.#send, 'DELETE', `/v1/raft/members/${raftId}`, undefined, signal)
  }

  transfer(to: number | undefined, signal: AbortSignal): Promise<{ readonly from: number }> {
    return json(this.#send, 'POST', '/v1/raft/transfer', to === undefined ? {} : { to }, signal)
  }

  /** The whole state as the bytes of a snapshot file. */
  backup(signal: AbortSignal): Promise<Bytes> {
    return this.#send({ method: 'GET', path: '/v1/raft/backup' }, signal)
  }

  snapshot(signal: AbortSignal): Promise<{ readonly snapshotIndex: number }> {
    return json(this.#send, 'POST', '/v1/raft/snapshot', {}, signal)
  }
}

type Send = (request: HttpRequest, signal: AbortSignal) => Promise<IncomingMessage>

class TaskCalls {
  readonly #send: Send

  constructor(send: Send) {
    this.#send = send
  }

  run(request: TaskRequest, signal: AbortSignal): Promise<Task> {
    return json(this.#send, 'POST', '/v1/tasks', request, signal)
  }

  /** `request` is what docs/pods.md describes; the master says what is wrong with it. */
  async runPod(request: unknown, signal: AbortSignal): Promise<readonly Task[]> {
    const { tasks } = await json<{ tasks: readonly Task[] }>(this.#send, 'POST', '/v1/tasks/pods', request, signal)
    return tasks
  }

  async list(query: Query, signal: AbortSignal): Promise<readonly Task[]> {
    const { tasks } = await json<{ tasks: readonly Task[] }>(this.#send, 'GET', withQuery('/v1/tasks', query), undefined, signal)
    return tasks
  }

  show(id: string, signal: AbortSignal): Promise<Task> {
    return json(this.#send, 'GET', taskPath(id), undefined, signal)
  }

  wait(id: string, signal: AbortSignal): Promise<Task> {
    return json(this.#send, 'GET', `${taskPath(id)}/wait`, undefined, signal)
  }

  /** The task once it runs or has ended, or while no node takes it. */
  waitStarted(id: string, signal: AbortSignal): Promise<Task> {
    return json(this.#send, 'GET', withQuery(`${taskPath(id)}/wait`, { until: 'started' }), undefined, signal)
  }

  kill(id: string, policy: { readonly signal?: string; readonly graceMs?: number }, signal: AbortSignal): Promise<Task> {
    return json(this.#send, 'POST', `${taskPath(id)}/kill`, policy, signal)
  }

  update(id: string, request: UpdateRequest, signal: AbortSignal): Promise<Task> {
    return json(this.#send, 'POST', `${taskPath(id)}/update`, request, signal)
  }

  stats(id: string, signal: AbortSignal): Promise<TaskDetails> {
    return json(this.#send, 'GET', `${taskPath(id)}/stats`, undefined, signal)
  }

  async remove(id: string, force: boolean, signal: AbortSignal): Promise<void> {
    await json(this.#send, 'DELETE', withQuery(taskPath(id), { force: force || undefined }), undefined, signal)
  }

  /** Why it ended, with the last lines of its log and what the node recorded around it. */
  explain(id: string, signal: AbortSignal): Promise<Explanation> {
    return json(this.#send, 'GET', `${taskPath(id)}/explain`, undefined, signal)
  }

  async logs(id: string, options: LogOptions, signal: AbortSignal): Promise<AsyncGenerator<StreamPart>> {
    const path = withQuery(`${taskPath(id)}/logs`, { ...options })
    return readStream(await this.#send({ method: 'GET', path, headers: { accept: streamContentType } }, signal))
  }

  /** `input` are encoded stream frames, the first one `open`. */
  async duplex(id: string, what: 'exec' | 'attach', input: Bytes, signal: AbortSignal): Promise<AsyncGenerator<StreamPart>> {
    const headers = { 'content-type': streamContentType, accept: streamContentType }
    return readStream(await this.#send({ method: 'POST', path: `${taskPath(id)}/${what}`, headers, body: input }, signal))
  }

  async files(id: string, path: string, signal: AbortSignal): Promise<readonly FileEntry[]> {
    const from = withQuery(`${taskPath(id)}/files`, { path })
    const { entries } = await json<{ entries: readonly FileEntry[] }>(this.#send, 'GET', from, undefined, signal)
    return entries
  }

  /** A tar of one file or folder of the sandbox. */
  readArchive(id: string, path: string, signal: AbortSignal): Promise<Bytes> {
    return this.#send({ method: 'GET', path: withQuery(`${taskPath(id)}/archive`, { path }) }, signal)
  }

  async writeArchive(id: string, path: string, tar: Bytes, signal: AbortSignal): Promise<void> {
    const headers = { 'content-type': 'application/x-tar' }
    await readJson(
      await this.#send({ method: 'PUT', path: withQuery(`${taskPath(id)}/archive`, { path }), headers, body: tar }, signal)
    )
  }
}

class NodeCalls {
  readonly #send: Send

  constructor(send: Send) {
    this.#send = send
  }

  async list(signal: AbortSignal): Promise<readonly Node[]> {
    return (await json<{ nodes: readonly Node[] }>(this.#send, 'GET', '/v1/nodes', undefined, signal)).nodes
  }

  show(id: string, signal: AbortSignal): Promise<Node> {
    return json(this.#send, 'GET', nodePath(id), undefined, signal)
  }

  /** For good: it comes back under a new id only. */
  async remove(id: string, force: boolean, signal: AbortSignal): Promise<void> {
    await json(this.#send, 'DELETE', withQuery(nodePath(id), { force: force || undefined }), undefined, signal)
  }

  health(id: string, signal: AbortSignal): Promise<NodeHealthAnswer> {
    return json(this.#send, 'GET', `${nodePath(id)}/health?refresh=true`, undefined, signal)
  }

  top(id: string, signal: AbortSignal): Promise<NodeTop> {
    return json(this.#send, 'GET', `${nodePath(id)}/top`, undefined, signal)
  }

  async stats(id: string, signal: AbortSignal): Promise<readonly TaskStats[]> {
    return (await json<{ tasks: readonly TaskStats[] }>(this.#send, 'GET', `${nodePath(id)}/stats`, undefined, signal)).tasks
  }

  isolators(id: string, signal: AbortSignal): Promise<NodeIsolators> {
    return json(this.#send, 'GET', `${nodePath(id)}/isolators`, undefined, signal)
  }

  /** Prometheus text, chunk by chunk. */
  metrics(id: string, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    return this.#send({ method: 'GET', path: `${nodePath(id)}/metrics` }, signal)
  }

  fsck(id: string, repair: boolean, signal: AbortSignal): Promise<FsckReport> {
    return json(this.#send, repair ? 'POST' : 'GET', `${nodePath(id)}/fsck`, repair ? {} : undefined, signal)
  }

  async images(id: string, signal: AbortSignal): Promise<readonly Image[]> {
    return (await json<{ images: readonly Image[] }>(this.#send, 'GET', `${nodePath(id)}/images`, undefined, signal)).images
  }

  image(id: string, name: string, signal: AbortSignal): Promise<ImageDetails> {
    return json(this.#send, 'GET', imagePath(id, name), undefined, signal)
  }

  async importImage(id: string, query: Query, archive: Bytes, signal: AbortSignal): Promise<AsyncGenerator<StreamPart>> {
    const headers = { 'content-type': 'application/octet-stream', accept: streamContentType }
    const path = withQuery(`${nodePath(id)}/images`, query)
    return readStream(await this.#send({ method: 'POST', path, headers, body: archive }, signal))
  }

  /** `credentials` are for this pull alone. */
  async pullImage(
    id: string,
    query: Query,
    credentials: { readonly username: string; readonly password: string } | undefined,
    signal: AbortSignal
  ): Promise<AsyncGenerator<StreamPart>> {
    const headers = { 'content-type': 'application/octet-stream', accept: streamContentType }
    const path = withQuery(`${nodePath(id)}/images/pull`, query)
    const body = credentials === undefined ? {} : { body: Buffer.from(JSON.stringify(credentials)) }
    return readStream(await this.#send({ method: 'POST', path, headers, ...body }, signal))
  }

  async verifyImage(id: string, query: Query, signal: AbortSignal): Promise<AsyncGenerator<StreamPart>> {
    const path = withQuery(`${nodePath(id)}/images/verify`, query)
    return readStream(await this.#send({ method: 'POST', path, headers: { accept: streamContentType } }, signal))
  }

  pruneImages(id: string, query: Query, signal: AbortSignal): Promise<{ readonly pruned: Pruned }> {
    return json(this.#send, 'POST', withQuery(`${nodePath(id)}/images/prune`, query), {}, signal)
  }

  async removeImage(id: string, name: string, signal: AbortSignal): Promise<void> {
    await json(this.#send, 'DELETE', imagePath(id, name), undefined, signal)
  }

  collectImages(id: string, signal: AbortSignal): Promise<{ readonly collected: Collected }> {
    return json(this.#send, 'POST', `${nodePath(id)}/images/collect`, {}, signal)
  }
}

class IdentityCalls {
  readonly #send: Send

  constructor(send: Send) {
    this.#send = send
  }

  overview(signal: AbortSignal): Promise<IdentityOverview> {
    return json(this.#send, 'GET', '/v1/identity', undefined, signal)
  }

  /** The token is told this once. */
  createToken(request: TokenRequest, signal: AbortSignal): Promise<{ readonly tokenId: string; readonly token: string }> {
    return json(this.#send, 'POST', '/v1/tokens', request, signal)
  }

  /** A new authority signs from now on. */
  rotateAuthority(signal: AbortSignal): Promise<{ readonly digest: string }> {
    return json(this.#send, 'POST', '/v1/authorities', {}, signal)
  }

  async retireAuthority(digest: string, signal: AbortSignal): Promise<void> {
    await json(this.#send, 'DELETE', `/v1/authorities/${encodeURIComponent(digest)}`, undefined, signal)
  }

  async operators(signal: AbortSignal): Promise<readonly OperatorFacts[]> {
    const path = '/v1/operators'
    return (await json<{ operators: readonly OperatorFacts[] }>(this.#send, 'GET', path, undefined, signal)).operators
  }

  /** The token is told this once. */
  createOperator(request: OperatorRequest, signal: AbortSignal): Promise<{ readonly name: string; readonly token: string }> {
    return json(this.#send, 'POST', '/v1/operators', request, signal)
  }

  async removeOperator(name: string, signal: AbortSignal): Promise<void> {
    await json(this.#send, 'DELETE', `/v1/operators/${encodeURIComponent(name)}`, undefined, signal)
  }

  /** The newest entries, oldest first. */
  async audit(signal: AbortSignal): Promise<readonly AuditEntry[]> {
    return (await json<{ entries: readonly AuditEntry[] }>(this.#send, 'GET', '/v1/audit', undefined, signal)).entries
  }

  async revokeToken(id: string, signal: AbortSignal): Promise<void> {
    await json(this.#send, 'DELETE', `/v1/tokens/${encodeURIComponent(id)}`, undefined, signal)
  }
}

class TenantCalls {
  readonly #send: Send

  constructor(send: Send) {
    this.#send = send
  }

  async list(signal: AbortSignal): Promise<readonly Tenant[]> {
    return (await json<{ tenants: readonly Tenant[] }>(this.#send, 'GET', '/v1/tenants', undefined, signal)).tenants
  }

  /** The policy that counts for the role, whoever has it. */
  show(role: string, signal: AbortSignal): Promise<Tenant> {
    return json(this.#send, 'GET', tenantPath(role), undefined, signal)
  }

  /** What is left out stays as it is. */
  set(role: string, change: TenantChange, signal: AbortSignal): Promise<Tenant> {
    return json(this.#send, 'PATCH', tenantPath(role), change, signal)
  }

  async remove(role: string, signal: AbortSignal): Promise<void> {
    await json(this.#send, 'DELETE', tenantPath(role), undefined, signal)
  }
}

const tenantPath = (role: string): string => `/v1/tenants/${encodeURIComponent(role)}`
const taskPath = (id: string): string => `/v1/tasks/${encodeURIComponent(id)}`
const nodePath = (id: string): string => `/v1/nodes/${encodeURIComponent(id)}`
const imagePath = (id: string, name: string): string => `${nodePath(id)}/images/${encodeURIComponent(name)}`

export function withQuery(path: string, query: Query): string {
  const pairs = Object.entries(query).flatMap(([k, v]) => (v === undefined ? [] : [`${k}=${encodeURIComponent(String(v))}`]))
  return pairs.length === 0 ? path : `${path}?${pairs.join('&')}`
}

async function json<T>(send: Send, method: string, path: string, body: unknown, signal: AbortSignal): Promise<T> {
  const headers: Record<string, string> = { accept: 'application/json' }
  if (body === undefined) return (await readJson(await send({ method, path, headers }, signal))) as T
  headers['content-type'] = 'application/json'
  return (await readJson(await send({ method, path, headers, body: Buffer.from(JSON.stringify(body)) }, signal))) as T
}
