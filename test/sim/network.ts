import type { Random } from '../../base/random.ts'
import type { Schedule } from './schedule.ts'
import type { Swarm } from './swarm.ts'

/** Between nodes, and from clients (id 0) to nodes: late, lost, twice, out of order, or cut in one direction. */
export class Network {
  readonly #schedule: Schedule
  readonly #random: Random
  readonly #swarm: Swarm
  readonly #cut = new Set<string>()
  isCalm = false

  constructor(schedule: Schedule, random: Random, swarm: Swarm) {
    this.#schedule = schedule
    this.#random = random
    this.#swarm = swarm
  }

  send(from: number, to: number, deliver: () => void): void {
    if (this.#cut.has(`${from}-${to}`)) return
    const { loss, duplication } = this.#swarm
    if (!this.isCalm && this.#random.between(1, 1000) <= loss) return
    this.#schedule.after(this.#delay(), deliver)
    if (!this.isCalm && this.#random.between(1, 1000) <= duplication) this.#schedule.after(this.#delay() * 3, deliver)
  }

  cut(from: number, to: number): void {
    this.#cut.add(`${from}-${to}`)
  }

  mend(from: number, to: number): void {
    this.#cut.delete(`${from}-${to}`)
  }

  heal(): void {
    this.#cut.clear()
  }

  #delay(): number {
    // Raft promises progress only where messages are much faster than the election timeout.
    if (this.isCalm) return this.#random.between(0, 5)
    return this.#random.between(this.#swarm.minDelayMs, this.#swarm.maxDelayMs)
  }
}
