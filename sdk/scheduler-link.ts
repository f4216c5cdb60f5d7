import type {
  Acceptance,
  Decline,
  FrameworkDefinition,
  KillPolicy,
  Offer,
  Resize,
  StoreCondition,
  StoreRow,
  StoreWrite,
  TaskStatus
} from '../proto/gen/messages.ts'

/**
 * How a scheduler talks to the master, whether it runs in the leader or across the network. Offers and statuses come in as
 * events; everything said is answered. A scheduler holds nothing that it cannot rebuild from its store and from statuses.
 */
export interface SchedulerLink {
  /** Registers the framework and yields its events until the signal aborts. The first event is always `subscribed`. */
  subscribe(framework: FrameworkDefinition, signal: AbortSignal): AsyncIterable<SchedulerEvent>
  /** Launches from offers. Rejects with a Fault where nothing at all was accepted; each refused group comes back as a status. */
  accept(acceptance: Acceptance): Promise<void>
  decline(decline: Decline): Promise<void>
  kill(frameworkId: string, taskId: string, policy: KillPolicy): Promise<void>
  acknowledge(frameworkId: string, status: TaskStatus): Promise<void>
  /**
   * Asks for offers to these roles, also after a suppression or a decline with a long refusal. A subscription begins with the
   * roles of its definition; others join by being asked for.
   */
  revive(frameworkId: string, roles: readonly string[]): Promise<void>
  /** Wants no offers to these roles until they are asked for again. */
  suppress(frameworkId: string, roles: readonly string[]): Promise<void>
  /**
   * Other resources and limits for a task that runs; resolves once its node keeps to them. Rejects with `Fault('exhausted')` where the
   * node has not so much free, `conflict` where the task does not run, or uses more than it is to have and it is not forced.
   */
  resize(frameworkId: string, taskId: string, resize: Resize): Promise<void>
  /** Drops log, sandbox and record of an ended task. */
  forget(frameworkId: string, taskId: string): Promise<void>
  readonly store: SchedulerStore
}

export type SchedulerEvent =
  | { readonly kind: 'subscribed'; readonly epoch: number }
  | { readonly kind: 'offers'; readonly offers: readonly Offer[] }
  | { readonly kind: 'rescind'; readonly offerId: string }
  | { readonly kind: 'status'; readonly status: TaskStatus }
  | { readonly kind: 'store'; readonly rows: readonly StoreRow[]; readonly removed: readonly string[]; readonly index: number }

/** Per framework ordered keys -> bytes with a version; transactions are all or nothing. */
export interface SchedulerStore {
  /** Rejects with `Fault('conflict')` where a condition does not hold, `exhausted` where the quota is used up. */
  transact(
    frameworkId: string,
    conditions: readonly StoreCondition[],
    writes: readonly StoreWrite[]
  ): Promise<{ readonly version: number }>
  read(frameworkId: string, prefix: string): Promise<readonly StoreRow[]>
}
