import { Fault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import { Mailbox } from '../base/mailbox.ts'
import { completeMessage } from '../proto/codec.ts'
import type {
  Acceptance,
  Decline,
  FrameworkDefinition,
  KillPolicy,
  Offer,
  Resize,
  StoreCondition,
  StoreRow,
  StoreTransaction,
  StoreWrite,
  TaskStatus
} from '../proto/gen/messages.ts'
import type { Claimant } from './allocator/allocate.ts'
import type { LiveTasks } from './live-tasks.ts'
import type { Proposer } from './proposer.ts'
import type { AppliedChange, Leadership } from './replica.ts'
import type { ClusterState } from './state/cluster.ts'

/** The events of sdk/scheduler-link.ts, which rooms of the master may not import. */
export type FrameworkEvent =
  | { readonly kind: 'subscribed'; readonly epoch: number }
  | { readonly kind: 'offers'; readonly offers: readonly Offer[] }
  | { readonly kind: 'rescind'; readonly offerId: string }
  | { readonly kind: 'status'; readonly status: TaskStatus }
  | { readonly kind: 'store'; readonly rows: readonly StoreRow[]; readonly removed: readonly string[]; readonly index: number }

interface Subscription {
  readonly definition: FrameworkDefinition
  readonly events: Mailbox<FrameworkEvent>
  /** The store as it was when the subscription began is told by its first event; later changes follow. */
  readonly fromIndex: number
  readonly over: AbortController
  /** The roles to which it wants offers now. */
  readonly wants: Set<string>
}

interface FrameworksParts {
  readonly state: ClusterState
  readonly liveTasks: Pick<LiveTasks, 'container'>
  readonly proposer: Proposer
  readonly leadership: Pick<Leadership, 'term'>
  readonly log: Log
}

/** What a framework's subscriber may lag behind. One that lags further is unsubscribed and must subscribe again. */
const maxEventsBehind = 100_000

/** The subscribed frameworks and their event queues. */
export class Frameworks {
  readonly #parts: FrameworksParts
  readonly #subscriptions = new Map<string, Subscription>()
  readonly #goneWatchers = new Set<(frameworkId: string) => void>()
  readonly #wantWatchers = new Set<() => void>()

  constructor(parts: FrameworksParts) {
    this.#parts = parts
  }

  /** A framework that left: its offers can go to others. */
  onGone(watcher: (frameworkId: string) => void): void {
    this.#goneWatchers.add(watcher)
  }

  /** Somebody wants offers who did not before. */
  onWant(watcher: () => void): void {
    this.#wantWatchers.add(watcher)
  }

  /**
   * After `subscribed` come the latest status of every task of the framework, then its whole store as one event, then what
   * changes. A scheduler that has seen the first `store` event knows everything; offers come only after it.
   */
  async *subscribe(definition: FrameworkDefinition, signal: AbortSignal): AsyncGenerator<FrameworkEvent> {
    const { frameworkId } = definition
    if (this.#subscriptions.has(frameworkId)) {
      throw new Fault('conflict', `a scheduler of framework ${frameworkId} is subscribed already`)
    }
    const over = new AbortController()
    const events = new Mailbox<FrameworkEvent>(maxEventsBehind)
    const ends = AbortSignal.any([signal, over.signal])
    await this.#register(definition, ends)
    const { state } = this.#parts
    const subscription = { definition, events, over, fromIndex: state.index, wants: new Set(definition.roles) }
    this.#subscriptions.set(frameworkId, subscription)
    const rows = [...state.storeOf(frameworkId).scan()]
    const statuses = this.#known(frameworkId)
    try {
      yield { kind: 'subscribed', epoch: this.#parts.leadership.term }
      for (const status of statuses) yield { kind: 'status', status }
      yield { kind: 'store', rows, removed: [], index: subscription.fromIndex }
      this.#wanted()
      yield* events.drain(ends)
      if (over.signal.aborted && !signal.aborted) throw over.signal.reason
    } finally {
      this.#subscriptions.delete(frameworkId)
      for (const watcher of this.#goneWatchers) watcher(frameworkId)
    }
  }

  deliver(frameworkId: string, event: FrameworkEvent): void {
    const subscription = this.#subscriptions.get(frameworkId)
    if (subscription === undefined) return
    try {
      subscription.events.put(event)
    } catch (e) {
      if (!(e instanceof Fault)) throw e
      this.#parts.log.warn({ frameworkId, eventsBehind: maxEventsBehind }, 'framework.cut_off')
      subscription.over.abort(e)
    }
  }

  /** Passes a committed change of a framework's store on to its scheduler. */
  applied(change: AppliedChange): void {
    const transaction = change.command.storeTransaction
    if (transaction === null || change.answer.refused) return
    const subscription = this.#subscriptions.get(transaction.frameworkId)
    if (subscription === undefined || change.index <= subscription.fromIndex) return
    this.deliver(transaction.frameworkId, storeEvent(transaction, change.index))
  }

  revive(frameworkId: string, roles: readonly string[]): void {
    const subscription = this.#subscriptions.get(frameworkId)
    if (subscription === undefined) return
    for (const role of roles) subscription.wants.add(role)
    this.#wanted()
  }

  suppress(frameworkId: string, roles: readonly string[]): void {
    for (const role of roles) this.#subscriptions.get(frameworkId)?.wants.delete(role)
  }

  /** Who wants offers now, a row for each role. What a framework holds is filled in by the caller. */
  claimants(): readonly Omit<Claimant, 'held'>[] {
    return [...this.#subscriptions].flatMap(([frameworkId, { wants }]) => [...wants].map((role) => ({ frameworkId, role })))
  }

  async #register(definition: FrameworkDefinition, signal: AbortSignal): Promise<void> {
    const known = this.#parts.state.frameworks.get(definition.frameworkId)
    if (known !== undefined && JSON.stringify(known) === JSON.stringify(definition)) return
    await this.#parts.proposer.propose({ registerFramework: { framework: definition } }, signal)
  }

  /** The latest of each task, so that a scheduler that comes (back) knows where it stands. */
  #known(frameworkId: string): readonly TaskStatus[] {
    const statuses: TaskStatus[] = []
    for (const row of this.#parts.state.assignments.values()) {
      const { assignment } = row
      if (assignment.frameworkId !== frameworkId) continue
      const live = this.#parts.liveTasks.container(assignment.containerId)
      statuses.push(row.ending ?? live?.status ?? unheardStatus(assignment, row.atMs))
    }
    return statuses
  }

  #wanted(): void {
    for (const watcher of this.#wantWatchers) watcher()
  }
}

interface LinkParts {
  readonly frameworks: Frameworks
  readonly allocation: { revive(frameworkId: string, roles: readonly string[]): void }
  readonly state: ClusterState
  readonly proposer: Proposer
  readonly launches: {
    accept(acceptance: Acceptance, signal: AbortSignal): Promise<void>
    decline(decline: Decline): void
  }
  readonly orders: { kill(frameworkId: string, taskId: string, policy: KillPolicy): void }
  readonly resizing: { resize(frameworkId: string, taskId: string, resize: Resize, signal: AbortSignal): Promise<void> }
  readonly assignments: { forget(frameworkId: string, taskId: string, signal: AbortSignal): Promise<void> }
}

/**
 * sdk/scheduler-link.ts's `SchedulerLink` for schedulers that run in the leader. They are first-party: their endings are
 * committed by the master itself, so `acknowledge` has nothing left to do.
 */
export const inProcessLink = (parts: LinkParts, closing: AbortSignal) => ({
  subscribe: (framework: FrameworkDefinition, signal: AbortSignal) => parts.frameworks.subscribe(framework, signal),
  accept: (acceptance: Acceptance) => parts.launches.accept(acceptance, closing),
  decline: async (decline: Decline) => parts.launches.decline(decline),
  kill: async (frameworkId: string, taskId: string, policy: KillPolicy) => parts.orders.kill(frameworkId, taskId, policy),
  acknowledge: async (_frameworkId: string, _status: TaskStatus) => undefined,
  revive: async (frameworkId: string, roles: readonly string[]) => parts.allocation.revive(frameworkId, roles),
  suppress: async (frameworkId: string, roles: readonly string[]) => parts.frameworks.suppress(frameworkId, roles),
  resize: (frameworkId: string, taskId: string, resize: Resize) => parts.resizing.resize(frameworkId, taskId, resize, closing),
  forget: (frameworkId: string, taskId: string) => parts.assignments.forget(frameworkId, taskId, closing),
  store: {
    async transact(frameworkId: string, conditions: readonly StoreCondition[], writes: readonly StoreWrite[]) {
      const applied = await parts.proposer.propose({ storeTransaction: { frameworkId, conditions, writes } }, closing)
      return { version: applied.answer.version }
    },
    read: async (frameworkId: string, prefix: string): Promise<readonly StoreRow[]> => [
      ...parts.state.storeOf(frameworkId).scan(prefix)
    ]
  }
})

/** Of a task that an earlier leader gave to a node. */
export const unheardStatus = (of: Parameters<typeof masterStatus>[0], atMs: number): TaskStatus =>
  masterStatus(of, 'staging', 'agent_unheard', 'its node has not reported to this leader yet', atMs)

/** A status that no agent made: number 0, never acknowledged. */
export function masterStatus(
  of: Pick<TaskStatus, 'frameworkId' | 'taskId' | 'attempt' | 'containerId' | 'agentId'>,
  state: TaskStatus['state'],
  reason: TaskStatus['reason'],
  message: string,
  atMs: number
): TaskStatus {
  const { frameworkId, taskId, attempt, containerId, agentId } = of
  return completeMessage('TaskStatus', { frameworkId, taskId, attempt, containerId, agentId, state, reason, message, atMs })
}

const storeEvent = (transaction: StoreTransaction, index: number): FrameworkEvent => ({
  kind: 'store',
  rows: transaction.writes.filter((w) => !w.remove).map((w) => ({ key: w.key, value: w.value, version: index })),
  removed: transaction.writes.filter((w) => w.remove).map((w) => w.key),
  index
})
