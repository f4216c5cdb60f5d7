import type { Clock } from '../../base/clock.ts'
import { isFault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import type { Service } from '../../base/service.ts'
import { completeMessage, decodeMessage } from '../../proto/codec.ts'
import type { FrameworkDefinition, Offer, Reason, StoreRow, TaskStatus, TaskWish } from '../../proto/gen/messages.ts'
import { anyRole } from '../../proto/ids.ts'
import { isTerminal } from '../../proto/task-state.ts'
import type { SchedulerEvent, SchedulerLink } from '../../sdk/scheduler-link.ts'
import { place, whyItWaits } from '../placement.ts'
import { decide, type Step, surplus } from './decide.ts'
import { groupOf, othersOf, type Waiting, waitingOf, whyPodIsOver } from './pods.ts'
import type { TaskBook } from './task-book.ts'
import { defaultKillPolicy, endingOf, frameworkOfTasks, movesOn, type TaskRecord } from './task-view.ts'
import { keyPrefix, type WishStore } from './wish-store.ts'

interface TaskSchedulerParts {
  readonly link: SchedulerLink
  readonly wishes: WishStore
  readonly book: TaskBook
  readonly clock: Clock
  readonly log: Log
}

export interface TaskSchedulerConfig {
  /** Ended tasks that are kept; the oldest beyond them are forgotten. */
  readonly keepEnded: number
  /** From the end of a task that removes itself to its removal, so that its log can still be read. */
  readonly removeAfterMs: number
  /** Pause before a launch that was dropped on its way is tried again. */
  readonly retryMs: number
}

/** How long an offer that no wish wanted is not to come back unless it grows. */
const refuseMs = 5_000

/** Turns wishes into launches and kills. It holds nothing that its store and the statuses would not tell it again. */
export class TaskScheduler implements Service {
  readonly name = 'task-scheduler'
  readonly #parts: TaskSchedulerParts
  readonly #config: TaskSchedulerConfig
  readonly #closing = new AbortController()
  readonly #early = new Map<string, TaskStatus>()
  readonly #killed = new Set<string>()
  readonly #leaving = new Map<string, Promise<void>>()
  readonly #working = new Set<Promise<void>>()
  #synced = false
  /** The roles to which it asks for offers. */
  readonly #wanted = new Set<string>([anyRole])
  #loop: Promise<void> = Promise.resolve()

  constructor(parts: TaskSchedulerParts, config: TaskSchedulerConfig) {
    this.#parts = parts
    this.#config = config
  }

  /** Resolves once every stored wish and its status is known. */
  start(): Promise<void> {
    return new Promise((ready, failed) => {
      this.#loop = this.#run(ready).catch((e: unknown) => {
        failed(e)
        // Before the first sync the caller hears of it; later nobody waits, and a scheduler that is cut off must not live on.
        if (this.#synced && !this.#closing.signal.aborted) throw e
      })
    })
  }

  async stop(): Promise<void> {
    this.#closing.abort()
    await this.#loop
    await Promise.allSettled(this.#working)
  }

  /** Takes over a wish that the store accepted, from its writer or from the store's own event, whichever comes first. */
  wished(taskId: string, wish: TaskWish, version: number): void {
    const before = this.#parts.book.get(taskId)
    if (before !== undefined && before.version >= version) return
    const definition = wish.group?.tasks[0]
    if (definition === undefined) {
      this.#parts.log.error({ taskId }, 'task.wish_unreadable')
      return
    }
    const status = before?.status ?? null
    this.#update({
      taskId,
      definition,
      role: wish.group?.role ?? anyRole,
      wish,
      version,
      status,
      startedAtMs: before?.startedAtMs ?? startOf(status),
      launching: before?.launching ?? false,
      waits: before?.waits ?? 'waits for a node'
    })
  }

  /** Removes an ended task, its log and its sandbox; repeated calls share one removal. */
  remove(taskId: string): Promise<void> {
    const under = this.#leaving.get(taskId)
    if (under !== undefined) return under
    const leaving = this.#remove(taskId).finally(() => this.#leaving.delete(taskId))
    this.#leaving.set(taskId, leaving)
    return leaving
  }

  /** Resolves at once unless the task is just being removed. */
  async gone(taskId: string): Promise<void> {
    await this.#leaving.get(taskId)?.catch(() => undefined) // Whoever asked for the removal hears of its failure.
  }

  /** A new end was asked for: a kill that went out before does not count. */
  killAgain(taskId: string): void {
    this.#killed.delete(taskId)
  }

  async #run(ready: () => void): Promise<void> {
    const { signal } = this.#closing
    const definition: FrameworkDefinition = {
      frameworkId: frameworkOfTasks,
      name: 'hearth task',
      roles: [...this.#wanted],
      failoverTimeoutMs: 0
    }
    for await (const event of this.#parts.link.subscribe(definition, signal)) {
      this.#take(event)
      if (event.kind === 'store') ready()
    }
  }

  #take(event: SchedulerEvent): void {
    switch (event.kind) {
      case 'subscribed':
        this.#parts.log.info({ epoch: event.epoch }, 'task_scheduler.subscribed')
        return
      case 'status':
        this.#status(event.status)
        return
      case 'store':
        this.#stored(event.rows, event.removed)
        return
      case 'offers':
        this.#offered(event.offers)
        return
      case 'rescind':
        return // Offers are answered at once: there is none in hand.
    }
  }

  #stored(rows: readonly StoreRow[], removed: readonly string[]): void {
    for (const row of rows) {
      if (row.key.startsWith(keyPrefix)) this.#read(row)
    }
    for (const key of removed) this.#parts.book.remove(key.slice(keyPrefix.length))
    if (this.#synced) return
    this.#synced = true
    for (const status of this.#early.values()) this.#status(status)
    this.#early.clear()
    for (const record of [...this.#parts.book.records()]) this.#act(record)
  }

  /** One row that cannot be read must not keep all others from being looked after. */
  #read(row: StoreRow): void {
    const taskId = row.key.slice(keyPrefix.length)
    try {
      this.wished(taskId, decodeMessage('TaskWish', row.value), row.version)
    } catch (e) {
      if (!isFault(e)) throw e
      this.#parts.log.error({ taskId, err: e.message }, 'task.wish_unreadable')
    }
  }

  #status(status: TaskStatus): void {
    const { taskId } = status
    if (!this.#synced) {
      this.#early.set(taskId, status)
      return
    }
    const { book, log } = this.#parts
    const record = book.get(taskId)
    if (record === undefined) {
      if (!this.#leaving.has(taskId)) this.#orphan(status)
      return
    }
    if (isNewContact(record.status, status)) this.#killed.delete(taskId)
    const startedAtMs = status.attempt === record.status?.attempt ? record.startedAtMs : null
    const next = { ...record, status, startedAtMs: startedAtMs ?? startOf(status), launching: false }
    if (status.state === 'dropped' && endingOf(next) === null) {
      log.warn({ taskId, attempt: status.attempt, err: status.message }, 'task.dropped')
      this.#update({ ...next, launching: true, waits: status.message })
      this.#later(this.#config.retryMs, taskId, (again) => this.#update({ ...again, launching: false }))
    } else if (movesOn(next)) {
      log.warn({ taskId, attempt: status.attempt, err: status.message }, 'task.moves_on')
      this.#update({ ...next, waits: status.message })
    } else this.#update(next)
    if (status.containerId === '' && status.state === 'error') this.#work(this.#parts.wishes.end(taskId, status))
  }

  /** A task without a wish: its removal was cut short by a crash. */
  #orphan(status: TaskStatus): void {
    const { link } = this.#parts
    const { taskId } = status
    this.#parts.log.warn({ taskId, state: status.state }, 'task.orphan_found')
    const ended = status.state !== 'unspecified_state' && isTerminal(status.state)
    this.#work(ended ? link.forget(frameworkOfTasks, taskId) : link.kill(frameworkOfTasks, taskId, defaultKillPolicy))
  }

  #update(record: TaskRecord): void {
    const { book } = this.#parts
    book.put(record)
    if (!this.#synced) return
    this.#act(record)
    if (endingOf(record) === null && record.wish.kill === null) return
    for (const other of othersOf(record, (id) => book.get(id))) if (actsOn.has(decide(other).kind)) this.#act(other)
  }

  #act(record: TaskRecord): void {
    const { taskId, wish } = record
    const step = decide(record)
    switch (step.kind) {
      case 'none':
        break
      case 'launch': {
        const over = whyPodIsOver(record, (id) => this.#parts.book.get(id))
        if (over !== undefined) {
          this.#work(this.#parts.wishes.end(taskId, this.#endedUnlaunched(taskId, 'pod_ended', over)))
          break
        }
        this.#wanted.add(record.role)
        this.#work(this.#parts.link.revive(frameworkOfTasks, [record.role]))
        break
      }
      case 'kill':
        if (this.#killed.has(taskId)) break
        this.#killed.add(taskId)
        this.#work(this.#parts.link.kill(frameworkOfTasks, taskId, wish.kill ?? defaultKillPolicy))
        break
      case 'end-unlaunched':
        this.#work(
          this.#parts.wishes.end(
            taskId,
            this.#endedUnlaunched(taskId, 'killed_during_launch', 'killed before it was placed on a node')
          )
        )
        break
      case 'remove-later':
        if (othersOf(record, (id) => this.#parts.book.get(id)).some((other) => endingOf(other) === null)) break
        this.#later(this.#config.removeAfterMs, taskId, () => this.#work(this.remove(taskId)))
        break
    }
    if (endingOf(record) === null) return
    this.#killed.delete(taskId)
    if (this.#parts.book.size > this.#config.keepEnded) {
      for (const old of surplus(this.#parts.book.records(), this.#config.keepEnded)) this.#work(this.remove(old))
    }
  }

  #endedUnlaunched(taskId: string, reason: Reason, message: string): TaskStatus {
    return completeMessage('TaskStatus', {
      frameworkId: frameworkOfTasks,
      taskId,
      state: 'killed',
      reason,
      message,
      atMs: this.#parts.clock.wallMs()
    })
  }

  #offered(offers: readonly Offer[]): void {
    const { book, link } = this.#parts
    const waiting = waitingOf(book.records(), (id) => book.get(id))
    const byKey = new Map(waiting.map((one) => [one.wanted.key, one]))
    const { taken, left } = place(
      waiting.map(({ wanted }) => wanted),
      offers
    )
    for (const wish of left) {
      const toItsRole = offers.filter((o) => o.role === wish.role)
      if (toItsRole.length === 0) continue // Another role was asked first; its own turn will tell.
      const waits = whyItWaits(wish, toItsRole)
      for (const record of byKey.get(wish.key)?.records ?? []) if (record.waits !== waits) book.put({ ...record, waits })
    }
    for (const [offerId, keys] of taken)
      this.#accept(
        offerId,
        keys.flatMap((key) => byKey.get(key) ?? [])
      )
    const unwanted = offers.map((o) => o.offerId).filter((id) => !taken.has(id))
    if (unwanted.length > 0) this.#work(link.decline({ frameworkId: frameworkOfTasks, offerIds: unwanted, refuseMs }))
    const served = [...this.#wanted].filter((role) => left.every((wish) => wish.role !== role))
    if (served.length === 0) return
    for (const role of served) this.#wanted.delete(role)
    this.#work(link.suppress(frameworkOfTasks, served))
  }

  #accept(offerId: string, placed: readonly Waiting[]): void {
    const { book, link } = this.#parts
    const records = placed.flatMap((one) => one.records)
    for (const r of records) book.put({ ...r, launching: true })
    const groups = placed.flatMap((one) => groupOf(one) ?? [])
    const accept = link.accept({ frameworkId: frameworkOfTasks, offerIds: [offerId], groups, refuseMs: 0 })
    this.#work(
      accept.catch((e: unknown) => {
        if (!isFault(e)) throw e
        this.#parts.log.info({ offerId, err: e.message }, 'task_scheduler.offer_lost')
        for (const { taskId } of records) {
          const record = book.get(taskId)
          if (record?.launching) this.#update({ ...record, launching: false })
        }
      })
    )
  }

  /** The wish first: without it nothing can launch again, and what is left behind by a crash is found as an orphan. */
  async #remove(taskId: string): Promise<void> {
    const { wishes, link, book } = this.#parts
    await wishes.remove(taskId)
    book.remove(taskId)
    await link.forget(frameworkOfTasks, taskId)
  }

  #later(ms: number, taskId: string, then: (record: TaskRecord) => void): void {
    const { signal } = this.#closing
    const wait = async (): Promise<void> => {
      await this.#parts.clock.sleep(ms, signal)
      const record = this.#parts.book.get(taskId)
      if (record !== undefined) then(record)
    }
    this.#work(wait())
  }

  /** Work beside the event loop: a Fault is logged and the next status or start tries again; anything else ends the process. */
  #work(work: Promise<unknown>): void {
    const running: Promise<void> = work
      .then(() => undefined)
      .catch((e: unknown) => {
        if (this.#closing.signal.aborted) return
        if (!isFault(e)) throw e
        this.#parts.log.warn({ code: e.code, err: e.message }, 'task_scheduler.step_failed')
      })
      .finally(() => this.#working.delete(running))
    this.#working.add(running)
  }
}

/** What the end of one task of a pod changes for the others. */
const actsOn: ReadonlySet<Step['kind']> = new Set(['launch', 'remove-later'])

const startOf = (status: TaskStatus | null): number | null =>
  status?.startedAtMs || (status?.state === 'running' ? status.atMs : null)

/** The agent registered anew, or the master speaks for it: a kill that went out before may not have arrived. */
const isNewContact = (before: TaskStatus | null, now: TaskStatus): boolean =>
  now.number === 0 ||
  now.number === before?.number ||
  before?.state === 'unreachable' ||
  before?.reason === 'reconciliation' ||
  before?.reason === 'agent_unheard'
