import type { PlantedBug } from '../bugs.ts'

/** Mistakes with which two attempts of a leased task run at once, or none ever again. */
export const bugsOfLeases: readonly PlantedBug[] = [
  {
    name: 'leases: a renewal asks no quorum',
    file: 'leases/grantor.ts',
    find: 'else await replica.read(signal)',
    replace: 'else await Promise.resolve(replica)'
  },
  {
    name: 'leases: a grant does not wait to be on record',
    file: 'leases/grantor.ts',
    find: 'if (before?.lease === null) await this.#record(before, signal)',
    replace: 'if (before?.lease === null) void this.#record(before, signal).catch(() => undefined)'
  },
  {
    name: 'leases: a new leader does not wait',
    file: 'leases/lease-book.ts',
    find: '{ lease, sinceMs: nowMs, isEnding: false }',
    replace: '{ lease, sinceMs: nowMs - lease.lengthMs, isEnding: false }'
  },
  {
    name: 'leases: a new leader forgets those on record',
    file: 'leases/grantor.ts',
    find: 'for (const row of this.#parts.state.assignments.values()) this.recorded(row)',
    replace: ''
  },
  {
    name: 'leases: a renewal is not counted',
    file: 'leases/lease-book.ts',
    find: 'const sinceMs = Math.max(receivedMs, entry?.sinceMs ?? receivedMs)',
    replace: 'const sinceMs = entry?.sinceMs ?? receivedMs'
  },
  {
    name: 'leases: no margin for clocks that differ',
    file: 'leases/lease-book.ts',
    find: 'Math.ceil(lengthMs / 0.95) + 20',
    replace: 'Math.ceil(lengthMs * 0.95)'
  },
  {
    name: 'leases: every end lets go of the lease',
    file: 'state/assignments.ts',
    find: 'command.leaseOver ? overLease(held) : held.lease',
    replace: 'overLease(held)'
  },
  {
    name: 'leases: another attempt takes the place of one that holds a lease',
    file: 'state/assignments.ts',
    find: 'if (held !== undefined && holdsLease(held)) {',
    replace: 'if (held !== undefined && holdsLease(held) && attempt < 0) {'
  },
  {
    name: 'leases: what is forgotten holds no lease',
    file: 'state/assignments.ts',
    find: 'if (held.lease !== null && holdsLease(held)) state',
    replace: "if (held.lease !== null && frameworkId === '') state"
  }
]
