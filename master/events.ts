export type EventKind = 'task' | 'node'

/** What filters look at. */
export interface EventSubject {
  readonly kind: EventKind
  readonly frameworkId?: string
  readonly taskId?: string
  readonly role?: string
}

export interface ClusterEvent extends EventSubject {
  readonly number: number
  /** One line of JSON. */
  readonly data: string
}

export interface EventsConfig {
  /** Events that are kept for those who come back. */
  readonly window: number
}

/** The last events of this epoch, numbered from 1. */
export class Events {
  readonly epoch: number
  readonly #window: number
  readonly #kept: ClusterEvent[] = []
  readonly #watchers = new Set<() => void>()
  /** How many stand before `#kept`: those are dropped in batches, since shifting each one would move all others. */
  #dropped = 0

  constructor(epoch: number, config: EventsConfig) {
    this.epoch = epoch
    this.#window = config.window
  }

  /** Of the newest event; 0 before the first. */
  get last(): number {
    return this.#dropped + this.#kept.length
  }

  /** A reader that has seen this one, or a later one, misses nothing. */
  get resumableFrom(): number {
    return Math.max(0, this.last - this.#window)
  }

  append(subject: EventSubject, data: unknown): void {
    this.#kept.push({ ...subject, number: this.last + 1, data: JSON.stringify(data) })
    if (this.#kept.length >= 2 * this.#window) {
      const surplus = this.#kept.length - this.#window
      this.#kept.splice(0, surplus)
      this.#dropped += surplus
    }
    for (const watcher of this.#watchers) watcher()
  }

  /** The next event after `number`; undefined where there is none yet. Ask `resumableFrom` first. */
  after(number: number): ClusterEvent | undefined {
    return this.#kept[number - this.#dropped]
  }

  watch(watcher: () => void): () => void {
    this.#watchers.add(watcher)
    return () => this.#watchers.delete(watcher)
  }
}
