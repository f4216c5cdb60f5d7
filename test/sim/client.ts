import type { Random } from '../../base/random.ts'
import type { Operation, RegisterAction } from '../linearizability/history.ts'
import type { Request } from './machine.ts'
import type { Network } from './network.ts'
import type { SimNode } from './node.ts'
import type { Schedule } from './schedule.ts'

export interface ClientWorld {
  readonly schedule: Schedule
  readonly random: Random
  readonly network: Network
  readonly history: Operation<RegisterAction>[]
  readonly keys: number
  members(): readonly SimNode[]
}

type Asked =
  | { readonly kind: 'read'; readonly key: string }
  | { readonly kind: 'write' | 'swap'; readonly key: string; readonly request: Request }

const patienceMs = 250
const maxAttempts = 6

/** Asks one thing after the other. A request without an answer is asked again, under its number, of some other node. */
export class Client {
  readonly id: number
  answered = 0
  isStopping = false
  #isIdle = true
  #number = 0
  #values = 0
  #lastSeen = 0
  readonly #world: ClientWorld

  constructor(id: number, world: ClientWorld) {
    this.id = id
    this.#world = world
  }

  get isIdle(): boolean {
    return this.#isIdle
  }

  start(): void {
    this.#world.schedule.after(this.#world.random.between(0, 50), () => this.#next())
  }

  /** Reads every key once more, after all that was acknowledged. */
  readKey(key: string): void {
    this.#isIdle = false
    this.#ask({ kind: 'read', key }, this.#world.schedule.events, 1)
  }

  #next(): void {
    this.#isIdle = this.isStopping
    if (this.isStopping) return
    this.#ask(this.#draw(), this.#world.schedule.events, 1)
  }

  #draw(): Asked {
    const { random, keys } = this.#world
    const key = `k${random.between(1, keys)}`
    const what = random.between(0, 9)
    if (what < 4) return { kind: 'read', key }
    const kind = what < 8 ? 'write' : 'swap'
    this.#number++
    // No value is written twice, so that a read tells whose write it saw.
    const value = this.id * 1_000_000 + ++this.#values
    return { kind, key, request: { client: this.id, number: this.#number, key, kind, expected: this.#lastSeen, value } }
  }

  #ask(asked: Asked, call: number, attempt: number): void {
    const { schedule, random, network } = this.#world
    let isOver = false
    const members = this.#world.members()
    const leaders = members.filter((one) => one.raft?.role === 'leader')
    const among = leaders.length > 0 && random.between(0, 9) > 0 ? leaders : members
    const node = among[random.between(0, among.length - 1)]
    if (node === undefined) return
    const answer = (action: RegisterAction): void => {
      network.send(node.id, 0, () => {
        if (isOver) return
        isOver = true
        this.#done(asked.key, action, call, schedule.events)
      })
    }
    network.send(0, node.id, () => {
      if (asked.kind === 'read') node.read(asked.key, (saw) => answer({ kind: 'read', saw }))
      else node.write(asked.request, (swapped) => answer(actionOf(asked.request, swapped)))
    })
    schedule.after(patienceMs, () => {
      if (isOver) return
      isOver = true
      this.#unanswered(asked, call, attempt)
    })
  }

  #unanswered(asked: Asked, call: number, attempt: number): void {
    if (attempt < maxAttempts || this.isStopping) {
      this.#ask(asked, call, attempt + 1)
      return
    }
    // It may take effect at any later time, so it is never over.
    if (asked.kind !== 'read') this.#record(asked.key, actionOf(asked.request, undefined), call, Number.POSITIVE_INFINITY)
    this.#next()
  }

  #done(key: string, action: RegisterAction, call: number, end: number): void {
    this.answered++
    if (action.kind === 'read') this.#lastSeen = action.saw
    this.#record(key, action, call, end)
    this.#world.schedule.after(this.#world.random.between(0, 20), () => this.#next())
  }

  #record(key: string, action: RegisterAction, call: number, end: number): void {
    this.#world.history.push({ key, action, call, return: end })
  }
}

function actionOf({ kind, expected, value }: Request, swapped: boolean | undefined): RegisterAction {
  return kind === 'write' ? { kind, value } : { kind, expected, value, swapped }
}
