import { Fault } from '../../base/fault.ts'
import { randomId } from '../../base/random.ts'
import type { ImportProgress, PullSecrets } from './unpack-message.ts'

interface Wish {
  readonly name: string
  readonly secrets: PullSecrets
}

type Work<T> = (wish: Wish, onProgress: (progress: ImportProgress) => void, signal: AbortSignal) => Promise<T>

interface Underway<T> {
  readonly result: Promise<T>
  readonly stop: AbortController
  readonly listeners: Map<symbol, (progress: ImportProgress) => void>
}

const pullsAtOnce = 2
const mostUnderway = 64

/** Pulls of the same image are one pull, which goes on until the last of those who wait for it has gone. Two run at a time. */
export class Pulls<T> {
  readonly #work: Work<T>
  readonly #underway = new Map<string, Underway<T>>()
  readonly #waiting: (() => void)[] = []
  #running = 0

  constructor(work: Work<T>) {
    this.#work = work
  }

  /** Rejects with the signal's reason when it aborts, whether or not the pull goes on for others. */
  async join(wish: Wish, onProgress: (progress: ImportProgress) => void, signal: AbortSignal): Promise<T> {
    signal.throwIfAborted()
    // With credentials of its own it is nobody else's: others must not get what these open.
    const key = wish.secrets.credentials === undefined ? wish.name : `${wish.name} ${randomId()}`
    const pull = this.#underway.get(key) ?? this.#begin(key, wish)
    const listener = Symbol(key)
    pull.listeners.set(listener, onProgress)
    let leave: () => void = () => undefined
    const left = new Promise<never>((_, reject) => {
      leave = () => reject(signal.reason as Error)
      signal.addEventListener('abort', leave, { once: true })
    })
    try {
      return await Promise.race([pull.result, left])
    } finally {
      signal.removeEventListener('abort', leave)
      pull.listeners.delete(listener)
      if (pull.listeners.size === 0) this.#abandon(key, pull)
    }
  }

  #begin(key: string, wish: Wish): Underway<T> {
    if (this.#underway.size >= mostUnderway)
      throw new Fault('unavailable', `${mostUnderway} images are being pulled already: try again when one is done`)
    const stop = new AbortController()
    const listeners = new Map<symbol, (progress: ImportProgress) => void>()
    const tell = (progress: ImportProgress): void => {
      for (const listener of listeners.values()) listener(progress)
    }
    const result = this.#inTurn(() => this.#work(wish, tell, stop.signal), stop.signal)
    const pull = { result, stop, listeners }
    this.#underway.set(key, pull)
    const done = (): void => {
      if (this.#underway.get(key) === pull) this.#underway.delete(key)
    }
    result.then(done, done)
    return pull
  }

  /** Nobody waits any more: who comes now begins anew. */
  #abandon(key: string, pull: Underway<T>): void {
    if (this.#underway.get(key) === pull) this.#underway.delete(key)
    pull.stop.abort(new Fault('unavailable', 'nobody waits for this image any more'))
  }

  async #inTurn(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    if (this.#running >= pullsAtOnce) await new Promise<void>((go) => this.#waiting.push(go))
    this.#running += 1
    try {
      signal.throwIfAborted()
      return await work()
    } finally {
      this.#running -= 1
      this.#waiting.shift()?.()
    }
  }
}
