import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import type { Random } from '../base/random.ts'
import { type BackOff, backOffMs } from '../base/retry.ts'
import type { Service } from '../base/service.ts'
import { completeMessage, type Init } from '../proto/codec.ts'
import type { TaskStatus } from '../proto/gen/messages.ts'
import { isTerminal } from '../proto/task-state.ts'
import { isSandbox } from './pods/seat.ts'
import type { Ledger } from './ports.ts'

export interface StatusOutboxParts {
  readonly ledger: Pick<Ledger, 'view' | 'append'>
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

export interface StatusOutboxConfig {
  readonly repeat: BackOff
  /** Unacknowledged statuses kept of one task; above it the oldest one that is neither in flight nor an end is given up. */
  readonly perTask: number
}

export const statusOutboxDefaults: StatusOutboxConfig = { repeat: { firstMs: 10_000, mostMs: 600_000 }, perTask: 32 }

/** The head of one task's queue, sent and not yet acknowledged. */
interface Flight {
  readonly number: number
  readonly landed: AbortController
}

/**
 * Statuses on their way to the master: numbered, on the disk before anybody hears of them, per task in order with one in
 * flight, repeated until acknowledged. The queues are the ledger's view, so a restart finds them as they were.
 */
export class StatusOutbox implements Service {
  readonly name = 'status-outbox'
  readonly #parts: StatusOutboxParts
  readonly #config: StatusOutboxConfig
  readonly #flights = new Map<string, Flight>()
  /** Shown by the view, but not yet known to be on the disk. */
  readonly #unsynced = new Set<number>()
  readonly #loops = new Set<Promise<void>>()
  #send: ((status: TaskStatus) => void) | undefined
  #nextNumber = 0

  constructor(parts: StatusOutboxParts, config: StatusOutboxConfig = statusOutboxDefaults) {
    this.#parts = parts
    this.#config = config
  }

  async start(): Promise<void> {}

  /** Resolves with the numbered status once it is on the disk; it is sent as soon as it is the first of its task. */
  async report(status: Init<TaskStatus>): Promise<TaskStatus> {
    const { ledger } = this.#parts
    if (isSandbox(ledger.view.tasks.get(status.containerId ?? '')?.row)) return await this.#keep(status)
    const number = Math.max(this.#nextNumber, ledger.view.nextStatusNumber)
    this.#nextNumber = number + 1
    const numbered = completeMessage('TaskStatus', { ...status, number })
    await this.#makeRoom(numbered.containerId)
    this.#unsynced.add(number)
    try {
      await ledger.append({ status: numbered }, 'disk')
    } finally {
      this.#unsynced.delete(number)
    }
    this.#advance(numbered.containerId)
    return numbered
  }

  /** No master hears of a pod's sandbox. So its statuses take no number, and of those that a master gets none is missing. */
  async #keep(status: Init<TaskStatus>): Promise<TaskStatus> {
    const kept = completeMessage('TaskStatus', { ...status, number: 0 })
    await this.#parts.ledger.append({ status: kept }, 'disk')
    return kept
  }

  /** Sends the head of every task's queue at once, and goes on until `disconnect`. `send` must not throw. */
  connect(send: (status: TaskStatus) => void): void {
    this.disconnect()
    this.#send = send
    for (const containerId of this.#parts.ledger.view.tasks.keys()) this.#advance(containerId)
  }

  disconnect(): void {
    this.#send = undefined
    for (const { landed } of this.#flights.values()) landed.abort()
    this.#flights.clear()
  }

  /** For a status that is no longer waited for it does nothing. */
  async acknowledged(number: number): Promise<void> {
    const { ledger } = this.#parts
    const containerId = this.#ownerOf(number)
    if (containerId === undefined) return
    await ledger.append({ acknowledged: { number } }, 'disk')
    const flight = this.#flights.get(containerId)
    if (flight?.number === number) {
      this.#flights.delete(containerId)
      flight.landed.abort()
    }
    this.#advance(containerId)
    this.#advanceAfter(containerId)
  }

  /** Disconnects and waits for the repeats to end. */
  async stop(): Promise<void> {
    this.disconnect()
    await Promise.all(this.#loops)
  }

  #ownerOf(number: number): string | undefined {
    for (const [containerId, task] of this.#parts.ledger.view.tasks) {
      if (!isSandbox(task.row) && task.unacknowledged.some((status) => status.number === number)) return containerId
    }
    return undefined
  }

  async #makeRoom(containerId: string): Promise<void> {
    const { ledger, log } = this.#parts
    const waiting = ledger.view.tasks.get(containerId)?.unacknowledged ?? []
    if (waiting.length < this.#config.perTask) return
    const inFlight = this.#flights.get(containerId)?.number
    const oldest = waiting.find(
      ({ number, state }) => number !== inFlight && (state === 'unspecified_state' || !isTerminal(state))
    )
    if (oldest === undefined) return
    log.warn({ containerId, number: oldest.number, state: oldest.state }, 'status.given_up')
    await ledger.append({ acknowledged: { number: oldest.number } }, 'kernel')
  }

  #advance(containerId: string): void {
    const { row, unacknowledged: [head] = [] } = this.#parts.ledger.view.tasks.get(containerId) ?? {}
    if (isSandbox(row)) return
    if (this.#send === undefined || head === undefined || this.#flights.has(containerId) || this.#unsynced.has(head.number))
      return
    if (this.#isBehind(containerId)) return
    const flight = { number: head.number, landed: new AbortController() }
    this.#flights.set(containerId, flight)
    const loop = this.#repeat(head, flight.landed.signal, this.#send)
    this.#loops.add(loop)
    loop.finally(() => this.#loops.delete(loop)).catch(() => undefined) // the loop itself never rejects
  }

  /** Statuses of the attempts before go first: the attempts of one task share one queue. */
  #isBehind(containerId: string): boolean {
    const { tasks } = this.#parts.ledger.view
    for (let at = tasks.get(containerId)?.row.previousContainerId ?? ''; at !== ''; ) {
      const before = tasks.get(at)
      if (before === undefined) return false
      if (before.unacknowledged.length > 0) return true
      at = before.row.previousContainerId
    }
    return false
  }

  #advanceAfter(containerId: string): void {
    const { tasks } = this.#parts.ledger.view
    const next = (of: string): string | undefined => [...tasks].find(([, task]) => task.row.previousContainerId === of)?.[0]
    for (let at = next(containerId); at !== undefined; at = next(at)) this.#advance(at)
  }

  async #repeat(status: TaskStatus, landed: AbortSignal, send: (status: TaskStatus) => void): Promise<void> {
    const { clock, random, log } = this.#parts
    for (let attempt = 0; !landed.aborted && this.#isHead(status); attempt += 1) {
      if (attempt > 0) log.debug({ number: status.number, containerId: status.containerId, attempt }, 'status.repeated')
      send(status)
      await clock.sleep(backOffMs(this.#config.repeat, attempt, random), landed).catch(() => undefined)
    }
    if (!landed.aborted) this.#flights.delete(status.containerId) // the task was forgotten meanwhile
  }

  #isHead({ containerId, number }: TaskStatus): boolean {
    return this.#parts.ledger.view.tasks.get(containerId)?.unacknowledged[0]?.number === number
  }
}
