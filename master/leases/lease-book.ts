/**
 * When a lease is surely over, in the leader's own time. Pure; milliseconds of a clock that never goes backwards.
 *
 * An agent counts a lease from when it sent the request, and a request is sent before it is received: so whoever waits for the lease's
 * length from the receipt on waits longer than the agent, but for the difference of their clocks.
 */
export class LeaseBook {
  readonly #entries = new Map<string, Entry>()

  /** On record, by an earlier leader or by this one: somebody may hold it from now on at the latest. */
  recorded(lease: Named, nowMs: number): void {
    if (this.#entries.has(lease.containerId)) return
    this.#entries.set(lease.containerId, { lease, sinceMs: nowMs, isEnding: false })
  }

  /** False where its end is under way: then it must not be granted. Asked for each grant, before it is sent. */
  granting(lease: Named, receivedMs: number): boolean {
    const entry = this.#entries.get(lease.containerId)
    if (entry?.isEnding === true) return false
    const sinceMs = Math.max(receivedMs, entry?.sinceMs ?? receivedMs)
    this.#entries.set(lease.containerId, { lease, sinceMs, isEnding: false })
    return true
  }

  forget(containerId: string): void {
    this.#entries.delete(containerId)
  }

  /** Leases that are surely over. From here on none of them is granted; each is told until it is forgotten. */
  over(nowMs: number): readonly Named[] {
    const over: Named[] = []
    for (const entry of this.#entries.values()) {
      if (nowMs < entry.sinceMs + surelyOverMs(entry.lease.lengthMs)) continue
      entry.isEnding = true
      over.push(entry.lease)
    }
    return over
  }
}

interface Named {
  readonly frameworkId: string
  readonly taskId: string
  readonly containerId: string
  readonly lengthMs: number
}

interface Entry {
  readonly lease: Named
  readonly sinceMs: number
  isEnding: boolean
}

/** Clocks may differ by 5 % in rate; the agent's counts in steps of 10 ms. */
export const surelyOverMs = (lengthMs: number): number => Math.ceil(lengthMs / 0.95) + 20
