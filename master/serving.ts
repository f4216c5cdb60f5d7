import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { isFault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import type { Service } from '../base/service.ts'
import type { Visitor } from './identity/guard.ts'
import type { Leadership } from './replica.ts'

/** What answers at the doors. */
interface Desk {
  http(request: IncomingMessage, response: ServerResponse): void
  /** `visitor`: of a connection from another host. */
  agent(socket: Socket, visitor?: Visitor): void
}

/** The rooms of one term of leadership: made when it begins, closed when it ends. */
export interface TermRooms extends Desk {
  readonly services: Service
}

interface ServingParts {
  readonly leadership: Leadership
  /** The rooms of the term that has just begun, not started yet. */
  readonly compose: () => TermRooms
  /** Answers while another leads, or nobody. */
  readonly follower: Desk
  /** Ends what is connected at the doors: it was connected to the rooms that are closed. */
  readonly cut: () => void
  readonly log: Log
  /** Hears of rooms that do not start or stop: the process must not go on. */
  readonly onBroken: (e: unknown) => void
}

/** Stands behind the doors: the rooms of a leader while this master leads, else the way to whoever does. */
export class Serving implements Service {
  readonly name = 'serving'
  readonly #parts: ServingParts
  readonly #stopWithinMs: number
  readonly #closing = new AbortController()
  /** The term that is led; 0 where none is. */
  #wanted = 0
  #open: { readonly term: number; readonly rooms: TermRooms } | undefined
  #desk: Desk
  #settling: Promise<void> | undefined

  constructor(parts: ServingParts, { stopWithinMs }: { readonly stopWithinMs: number }) {
    this.#parts = parts
    this.#stopWithinMs = stopWithinMs
    this.#desk = parts.follower
  }

  /** Resolves once the rooms serve, where this master leads already. */
  async start(): Promise<void> {
    this.#parts.leadership.watch(({ kind, term }) => {
      this.#wanted = kind === 'gained' ? term : 0
      if (this.#wanted === 0) this.#desk = this.#parts.follower
      this.#settle()
    }, this.#closing.signal)
    await this.#settling
  }

  async stop(): Promise<void> {
    this.#closing.abort()
    this.#wanted = 0
    this.#desk = this.#parts.follower
    this.#settle()
    await this.#settling
  }

  get desk(): Desk {
    return this.#desk
  }

  #settle(): void {
    this.#settling ??= this.#untilSettled()
  }

  async #untilSettled(): Promise<void> {
    // Whoever asked must know of this one before anything changes again.
    await Promise.resolve()
    try {
      while ((this.#open?.term ?? 0) !== this.#wanted) {
        if (this.#open === undefined) await this.#enter(this.#wanted)
        else await this.#leave(this.#open.rooms)
      }
    } catch (e) {
      this.#parts.onBroken(e)
    }
    this.#settling = undefined
  }

  async #enter(term: number): Promise<void> {
    const rooms = this.#parts.compose()
    this.#open = { term, rooms }
    try {
      await rooms.services.start()
      if (this.#wanted === term) this.#desk = rooms
    } catch (e) {
      this.#open = undefined
      // Leadership can be lost while the rooms open; otherwise whatever keeps them shut keeps the cluster shut.
      if (this.#wanted === term) throw e
      this.#parts.log.info({ term, err: reasonOf(e) }, 'serving.not_entered')
    }
  }

  async #leave(rooms: TermRooms): Promise<void> {
    try {
      await rooms.services.stop(AbortSignal.timeout(this.#stopWithinMs))
    } finally {
      this.#open = undefined
      this.#parts.cut()
    }
  }
}

const reasonOf = (e: unknown): string => {
  const cause = e instanceof Error && isFault(e.cause) ? e.cause : e
  return cause instanceof Error ? cause.message : String(cause)
}
