import type { Random } from '../../base/random.ts'
import type { RaftHost } from '../../master/consensus/host.ts'
import type { PeerTransport } from '../../master/consensus/port.ts'
import type { Message } from '../../master/raft/message.ts'

export interface LinkFaults {
  /** Per 100 messages. */
  readonly loss: number
  readonly duplication: number
  readonly maxDelayMs: number
}

/** Several masters in one process: what they send each other is lost, late, doubled and out of order, as was asked for. */
export class MemoryPeers {
  readonly #hosts = new Map<number, RaftHost>()
  readonly #cut = new Set<number>()
  readonly #random: Random
  readonly #faults: LinkFaults

  constructor(random: Random, faults: LinkFaults) {
    this.#random = random
    this.#faults = faults
  }

  attach(raftId: number, host: RaftHost): void {
    this.#hosts.set(raftId, host)
  }

  /** Nothing goes to or from it any more. */
  cut(raftId: number): void {
    this.#cut.add(raftId)
  }

  heal(): void {
    this.#cut.clear()
  }

  transport(own: number): PeerTransport {
    return {
      membersAre: () => undefined,
      send: (messages) => {
        for (const m of messages) this.#send(own, m)
      },
      sendSnapshot: async (m, bytes) => {
        if (m.snapshot === undefined || this.#isCut(own, m.to)) throw new Error('the peer is away')
        this.#deliver({ ...m, snapshot: { ...m.snapshot, data: bytes } })
      }
    }
  }

  #send(own: number, m: Message): void {
    const { loss, duplication } = this.#faults
    if (this.#isCut(own, m.to) || this.#random.between(1, 100) <= loss) return
    this.#deliver(m)
    if (this.#random.between(1, 100) <= duplication) this.#deliver(m)
  }

  #deliver(m: Message): void {
    const delayMs = this.#random.between(0, this.#faults.maxDelayMs)
    const arrive = (): void => {
      if (!this.#isCut(m.from, m.to)) this.#hosts.get(m.to)?.receive(m)
    }
    if (delayMs === 0) setImmediate(arrive)
    else setTimeout(arrive, delayMs)
  }

  #isCut(from: number, to: number): boolean {
    return this.#cut.has(from) || this.#cut.has(to)
  }
}
