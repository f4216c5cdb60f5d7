import type { Random } from '../../base/random.ts'
import type { ReplicaCommand } from '../../master/replica.ts'
import type { Answer } from '../../proto/gen/messages.ts'
import type { Operation, RegisterAction } from '../linearizability/history.ts'
import type { Network } from './network.ts'
import { framework, type SimNode } from './node.ts'
import type { Schedule } from './schedule.ts'
import { promise } from './violation.ts'

export interface ClientWorld {
  readonly schedule: Schedule
  readonly random: Random
  readonly network: Network
  readonly history: Operation<RegisterAction>[]
  readonly keys: number
  members(): readonly SimNode[]
}

/** A repeat goes under the same session and seq, so that it can be told from a new request. */
interface Request {
  readonly session: string
  readonly seq: number
  readonly kind: 'write' | 'swap'
  readonly value: number
  /** What a swap replaces: the value that was seen last, told by its version. */
  readonly expected: number
  readonly version: number
}

type Asked =
  | { readonly kind: 'read'; readonly key: string }
  | { readonly kind: 'write' | 'swap'; readonly key: string; readonly request: Request }
  /** The first thing that anybody asks for. */
  | { readonly kind: 'register'; readonly key: '' }

const patienceMs = 250
const maxAttempts = 6

/** Asks one thing after the other. A request without an answer is asked again, under its number, of some other node. */
export class Client {
  readonly id: number
  answered = 0
  isStopping = false
  #isIdle = true
  /** The first command of the session registers the framework. */
  #seq = 1
  #values = 0
  /** By key. */
  readonly #lastSeen = new Map<string, { readonly value: number; readonly version: number }>()
  readonly #world: ClientWorld

  constructor(id: number, world: ClientWorld) {
    this.id = id
    this.#world = world
  }

  get isIdle(): boolean {
    return this.#isIdle
  }

  start(): void {
    this.#world.schedule.after(this.#world.random.between(0, 50), () => this.#ask({ kind: 'register', key: '' }, 0, 1))
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
    this.#seq++
    // No value is written twice, so that a read tells whose write it saw.
    const value = this.id * 1_000_000 + ++this.#values
    const { value: expected, version } = this.#lastSeen.get(key) ?? { value: 0, version: 0 }
    return { kind, key, request: { session: `s${this.id}`, seq: this.#seq, kind, value, expected, version } }
  }

  #ask(asked: Asked, call: number, attempt: number): void {
    const { schedule, random, network } = this.#world
    let isOver = false
    const members = this.#world.members()
    const leaders = members.filter((one) => one.raft?.role === 'leader')
    const among = leaders.length > 0 && random.between(0, 9) > 0 ? leaders : members
    const node = among[random.between(0, among.length - 1)]
    if (node === undefined) return
    const answer = (tell: () => void): void => {
      network.send(node.id, 0, () => {
        if (isOver) return
        isOver = true
        tell()
      })
    }
    const done = (action: RegisterAction): void => this.#done(asked.key, action, call, schedule.events)
    network.send(0, node.id, () => {
      if (asked.kind === 'register') node.write(`s${this.id}`, 1, registration, () => answer(() => this.#next()))
      else if (asked.kind === 'read') {
        node.read(asked.key, (saw, version) =>
          answer(() => {
            this.#lastSeen.set(asked.key, { value: saw, version })
            done({ kind: 'read', saw })
          })
        )
      } else {
        const { session, seq } = asked.request
        node.write(session, seq, commandOf(asked.key, asked.request), (said) =>
          answer(() => done(actionOf(asked.request, this.#swapped(said))))
        )
      }
    })
    schedule.after(patienceMs, () => {
      if (isOver) return
      isOver = true
      this.#unanswered(asked, call, attempt)
    })
  }

  #swapped({ refused, code }: Answer): boolean {
    promise(!refused || code === 'conflict', `a request that is in order is refused with ${code}`)
    return !refused
  }

  #unanswered(asked: Asked, call: number, attempt: number): void {
    if (attempt < maxAttempts || this.isStopping || asked.kind === 'register') {
      this.#ask(asked, call, attempt + 1)
      return
    }
    // It may take effect at any later time, so it is never over.
    if (asked.kind === 'write' || asked.kind === 'swap')
      this.#record(asked.key, actionOf(asked.request, undefined), call, Number.POSITIVE_INFINITY)
    this.#next()
  }

  #done(key: string, action: RegisterAction, call: number, end: number): void {
    this.answered++
    this.#record(key, action, call, end)
    this.#world.schedule.after(this.#world.random.between(0, 20), () => this.#next())
  }

  #record(key: string, action: RegisterAction, call: number, end: number): void {
    this.#world.history.push({ key, action, call, return: end })
  }
}

const registration: ReplicaCommand = {
  registerFramework: { framework: { frameworkId: framework, name: framework, roles: ['*'] } }
}

function commandOf(key: string, { kind, value, version }: Request): ReplicaCommand {
  const writes = [{ key, value: Buffer.from(String(value)) }]
  return { storeTransaction: { frameworkId: framework, writes, conditions: kind === 'swap' ? [{ key, version }] : [] } }
}

function actionOf({ kind, expected, value }: Request, swapped: boolean | undefined): RegisterAction {
  return kind === 'write' ? { kind, value } : { kind, expected, value, swapped }
}
