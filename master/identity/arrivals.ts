import type { Socket } from 'node:net'

interface ArrivalsConfig {
  /** Handshakes begun in one turn of the event loop. */
  readonly perTurn: number
  /** Handshakes under way at once whose next message may come in this very turn: it bounds what a turn can cost. */
  readonly atOnce: number
  /** A handshake that has taken so long waits for its client, not for us, and keeps no other from beginning. */
  readonly slowMs: number
  /** Handshakes under way in all. */
  readonly underWayMost: number
  /** Connections that may wait for theirs; more are closed. */
  readonly waitingMost: number
  /** Who says nothing for so long is closed, and so is who has waited for so long: a client gives up after that. */
  readonly patienceMs: number
}

interface Greeting {
  readonly socket: Socket
  readonly timer: NodeJS.Timeout
  isSlow: boolean
}

/**
 * Connections that come to a TLS door, in their turn: a handshake costs 2 ms of a core, and when all agents come back at once the
 * event loop must have time left for the other masters. Nobody has a turn before its first bytes are here, so that those who say
 * nothing keep nobody waiting; who waits costs a socket (docs/decisions/0046).
 */
export class Arrivals {
  readonly #begin: (socket: Socket) => void
  readonly #config: ArrivalsConfig
  readonly #silent = new Set<Socket>()
  /** With the time at which each began to wait. */
  readonly #waiting = new Map<Socket, number>()
  /** By where they come from: the socket that comes out of a handshake is another object. */
  readonly #greeting = new Map<string, Greeting>()
  #slow = 0
  #turn: NodeJS.Immediate | undefined

  constructor(begin: (socket: Socket) => void, config: ArrivalsConfig) {
    this.#begin = begin
    this.#config = config
  }

  /** `socket`: of which nothing has been read. */
  arrived(socket: Socket): void {
    socket.on('error', () => undefined) // whoever reads it tells
    const { waitingMost, patienceMs } = this.#config
    if (this.#silent.size + this.#waiting.size >= waitingMost) {
      socket.destroy()
      return
    }
    this.#silent.add(socket)
    socket.setTimeout(patienceMs, () => socket.destroy())
    socket.once('close', () => {
      this.#silent.delete(socket)
      this.#waiting.delete(socket)
    })
    // What it says stays where it is: the handshake begins with what has been read by then.
    let said = 0
    socket.on('readable', () => {
      // Nothing more: that is the end of the stream.
      if (socket.readableLength === said) socket.destroy()
      said = socket.readableLength
      if (!socket.destroyed && this.#silent.delete(socket)) this.#waits(socket)
    })
  }

  #waits(socket: Socket): void {
    socket.setTimeout(0)
    this.#waiting.set(socket, performance.now())
    this.#askForTurn()
  }

  /** Its handshake is over, one way or the other. */
  greeted(socket: Socket): void {
    const place = placeOf(socket)
    const greeting = this.#greeting.get(place)
    if (greeting === undefined) return
    clearTimeout(greeting.timer)
    if (greeting.isSlow) this.#slow -= 1
    this.#greeting.delete(place)
    this.#askForTurn()
  }

  destroyAll(): void {
    for (const socket of [...this.#silent, ...this.#waiting.keys()]) socket.destroy()
    for (const { socket } of this.#greeting.values()) socket.destroy()
  }

  get #room(): number {
    const { atOnce, underWayMost } = this.#config
    return Math.min(atOnce - (this.#greeting.size - this.#slow), underWayMost - this.#greeting.size)
  }

  #askForTurn(): void {
    if (this.#waiting.size > 0 && this.#room > 0) this.#turn ??= setImmediate(() => this.#takeTurn())
  }

  #takeTurn(): void {
    this.#turn = undefined
    let left = Math.min(this.#config.perTurn, this.#room)
    for (const [socket, sinceMs] of this.#waiting) {
      if (left === 0) break
      this.#waiting.delete(socket)
      if (performance.now() - sinceMs > this.#config.patienceMs) socket.destroy()
      else {
        this.#greet(socket)
        left -= 1
      }
    }
    this.#askForTurn()
  }

  #greet(socket: Socket): void {
    const greeting: Greeting = {
      socket,
      isSlow: false,
      timer: setTimeout(() => {
        greeting.isSlow = true
        this.#slow += 1
        this.#askForTurn()
      }, this.#config.slowMs)
    }
    this.#greeting.set(placeOf(socket), greeting)
    socket.once('close', () => this.greeted(socket))
    socket.removeAllListeners('readable')
    this.#begin(socket)
  }
}

const placeOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress} ${remotePort}`
