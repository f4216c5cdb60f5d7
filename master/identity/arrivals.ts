import type { Socket } from 'node:net'

interface ArrivalsConfig {
  /** Handshakes begun in one turn of the event loop. */
  readonly perTurn: number
  /** Handshakes under way at once: some of them are of strangers who say nothing. */
  readonly atOnce: number
  /** Connections that may wait for theirs; more are closed. */
  readonly waitingMost: number
}

/**
 * Connections that come to a TLS door, in their turn: a handshake costs 2 ms of a core, and when all agents come back at once the
 * event loop must have time left for the other masters. Who waits has sent nothing that was read, and costs a socket.
 */
export class Arrivals {
  readonly #begin: (socket: Socket) => void
  readonly #config: ArrivalsConfig
  readonly #waiting = new Set<Socket>()
  /** By where they come from: the socket that comes out of a handshake is another object. */
  readonly #greeting = new Map<string, Socket>()
  #turn: NodeJS.Immediate | undefined

  constructor(begin: (socket: Socket) => void, config: ArrivalsConfig) {
    this.#begin = begin
    this.#config = config
  }

  /** `socket`: of which nothing has been read. */
  arrived(socket: Socket): void {
    socket.on('error', () => undefined) // whoever reads it tells
    if (this.#waiting.size >= this.#config.waitingMost) {
      socket.destroy()
      return
    }
    this.#waiting.add(socket)
    socket.once('close', () => this.#waiting.delete(socket))
    this.#askForTurn()
  }

  /** Its handshake is over, one way or the other. */
  greeted(socket: Socket): void {
    if (this.#greeting.delete(placeOf(socket))) this.#askForTurn()
  }

  destroyAll(): void {
    for (const socket of [...this.#waiting, ...this.#greeting.values()]) socket.destroy()
  }

  #askForTurn(): void {
    if (this.#waiting.size > 0 && this.#greeting.size < this.#config.atOnce) this.#turn ??= setImmediate(() => this.#takeTurn())
  }

  #takeTurn(): void {
    this.#turn = undefined
    const most = Math.min(this.#config.perTurn, this.#config.atOnce - this.#greeting.size)
    for (const socket of [...this.#waiting].slice(0, most)) {
      this.#waiting.delete(socket)
      this.#greeting.set(placeOf(socket), socket)
      socket.once('close', () => this.greeted(socket))
      this.#begin(socket)
    }
    this.#askForTurn()
  }
}

const placeOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress} ${remotePort}`
