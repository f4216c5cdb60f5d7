import { closeSync, constants, openSync, readSync } from 'node:fs'
import { errnoOf } from '../../base/fault.ts'
import { type KernelEvent, parseKernelRecord } from '../cause/kernel-event.ts'

/** PRINTK_MESSAGE_MAX: what one record may have at most. */
const recordBytes = 8 * 1024
const eventsKept = 200
/** In one go, so that the event loop stays free. */
const recordsAtOnce = 500

/**
 * The kernel's log, read as it grows. Polled, never waited for: a blocking read would hold a thread of the pool that the ledger
 * syncs with. Where the kernel does not let us read it, there is nothing of interest.
 */
export class KernelLog {
  readonly #path: string
  readonly #buffer = Buffer.allocUnsafe(recordBytes)
  readonly #events: KernelEvent[] = []
  #file: number | undefined

  constructor(path = '/dev/kmsg') {
    this.#path = path
  }

  get events(): readonly KernelEvent[] {
    return this.#events
  }

  open(): void {
    try {
      this.#file = openSync(this.#path, constants.O_RDONLY | constants.O_NONBLOCK)
    } catch {
      this.#file = undefined // not here, or not for us
    }
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file)
    this.#file = undefined
  }

  /** Takes what is new, at most `recordsAtOnce`; the events among it. True in `more` where some is left. */
  poll(): { readonly events: readonly KernelEvent[]; readonly more: boolean } {
    const events: KernelEvent[] = []
    for (let i = 0; i < recordsAtOnce; i += 1) {
      const record = this.#read()
      if (record === undefined) return { events: this.#keep(events), more: false }
      const event = parseKernelRecord(record)
      if (event !== undefined) events.push(event)
    }
    return { events: this.#keep(events), more: true }
  }

  #keep(events: readonly KernelEvent[]): readonly KernelEvent[] {
    this.#events.push(...events)
    this.#events.splice(0, Math.max(0, this.#events.length - eventsKept))
    return events
  }

  /** Each read gives one record (Documentation/ABI/testing/dev-kmsg); EPIPE tells that some were overwritten meanwhile. */
  #read(): string | undefined {
    if (this.#file === undefined) return undefined
    try {
      return this.#buffer.toString('latin1', 0, readSync(this.#file, this.#buffer, 0, recordBytes, null))
    } catch (e) {
      if (errnoOf(e) === 'EPIPE' || errnoOf(e) === 'EINVAL') return ''
      return undefined // EAGAIN: this is the end
    }
  }
}
