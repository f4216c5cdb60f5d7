import { Fault } from '../../base/fault.ts'
import type { AppliedChange } from '../replica.ts'

export interface WindowLimits {
  readonly changes: number
  readonly bytes: number
}

/** A change as few objects: thousands of them are kept, and most are never read. */
interface Kept {
  readonly index: number
  readonly bytes: number
}

/** The newest applied changes, in memory. A reader that falls out of the window is told so, never given a gap. */
export class ChangeWindow<K extends Kept> {
  readonly #limits: WindowLimits
  readonly #tell: (kept: K) => AppliedChange
  /** From `#start` on; what is before it has gone and is cut off from time to time. */
  #kept: (K | undefined)[] = []
  #start = 0
  #nextIndex: number
  #bytes = 0
  #end: 'open' | 'closed' | Fault = 'open'
  readonly #waiting = new Set<() => void>()

  /** `tell` makes of what is kept what its readers get. */
  constructor(afterIndex: number, limits: WindowLimits, tell: (kept: K) => AppliedChange) {
    this.#nextIndex = afterIndex + 1
    this.#tell = tell
    this.#limits = limits
  }

  get firstIndex(): number {
    return this.#nextIndex - (this.#kept.length - this.#start)
  }

  /** Changes come with ascending indexes without a gap. */
  add(kept: K): void {
    this.#kept.push(kept)
    this.#nextIndex = kept.index + 1
    this.#bytes += kept.bytes
    while (this.#kept.length - this.#start > this.#limits.changes || this.#bytes > this.#limits.bytes) {
      this.#bytes -= this.#kept[this.#start]?.bytes ?? 0
      this.#kept[this.#start] = undefined
      this.#start += 1
    }
    if (this.#start > this.#limits.changes) {
      this.#kept = this.#kept.slice(this.#start)
      this.#start = 0
    }
    this.#wakeAll()
  }

  /** The state was replaced by a later one: what lies between is not known here. */
  skipTo(afterIndex: number): void {
    this.#kept = []
    this.#start = 0
    this.#bytes = 0
    this.#nextIndex = afterIndex + 1
    this.#wakeAll()
  }

  /** Ends all readers: quietly after a stop, with the fault after a failure. */
  close(failure?: Fault): void {
    if (this.#end !== 'open') return
    this.#end = failure ?? 'closed'
    this.#wakeAll()
  }

  async *read(fromIndex: number, signal: AbortSignal): AsyncGenerator<AppliedChange> {
    for (let next = fromIndex; !signal.aborted; ) {
      if (next < this.firstIndex) {
        const message = `changes before ${this.firstIndex} are compacted; ${next} was asked for: read the state anew`
        throw new Fault('exhausted', message, { firstIndex: this.firstIndex })
      }
      const kept = next < this.#nextIndex ? this.#kept[this.#start + next - this.firstIndex] : undefined
      if (kept !== undefined) {
        yield this.#tell(kept)
        next += 1
      } else if (this.#end === 'open') await this.#wait(signal)
      else if (this.#end === 'closed') return
      else throw this.#end
    }
  }

  #wait(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        signal.removeEventListener('abort', wake)
        this.#waiting.delete(wake)
        resolve()
      }
      this.#waiting.add(wake)
      signal.addEventListener('abort', wake, { once: true })
    })
  }

  #wakeAll(): void {
    if (this.#waiting.size > 0) for (const wake of [...this.#waiting]) wake()
  }
}
