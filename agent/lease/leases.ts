import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'
import type { Clock } from '../../base/clock.ts'
import type { Log } from '../../base/log.ts'
import { type CgroupLayout, cgroupDirectories } from '../../isolators/cgroup2/layout.ts'
import type { Isolator } from '../../isolators/isolator.ts'
import type { Init } from '../../proto/codec.ts'
import type { LeaseGrant, LeaseRequest } from '../../proto/gen/messages.ts'
import type { BootClock } from '../host/boot-time.ts'
import { Lease, type LeaseOf, ranOutMessage } from './lease.ts'
import { LeaseFiles } from './lease-file.ts'
import { killAtMs, type Term } from './terms.ts'
import { Watchdog } from './watchdog.ts'

interface Parts {
  readonly clock: Clock
  readonly bootClock: BootClock
  readonly log: Log
  readonly layout: CgroupLayout
  /** The highest epoch of the masters that is known. */
  readonly epoch: () => number
  /** Puts a process where the containers' monitors are; undefined where it may stay beside the agent. */
  readonly place: ((pid: number) => Promise<void>) | undefined
}

interface Config {
  readonly bootDir: string
  readonly bootId: string
  readonly cgroupParent: string
  /** agent/lease/watchdog.pl, as it was built. */
  readonly program: string
}

const perl = '/usr/bin/perl'

/** The agent's half of the leases: asks whoever grants, and has the watchdog end what is granted no more. */
export class Leases {
  readonly #parts: Parts
  readonly #config: Config
  readonly #files: LeaseFiles
  readonly #watchdog: Watchdog
  /** By the container of the assignment. */
  readonly #leases = new Map<string, Lease>()
  /** By container: what it has to be put under before it begins. */
  readonly #wanted = new Map<string, Lease>()
  /** Containers that have files of ours, those of earlier agents included. */
  readonly #held = new Set<string>()
  #send: ((request: Init<LeaseRequest>) => void) | undefined
  #request = 0

  constructor(parts: Parts, config: Config) {
    const directory = join(config.bootDir, 'leases')
    this.#parts = parts
    this.#config = config
    this.#files = new LeaseFiles(directory)
    this.#watchdog = new Watchdog(parts, { directory, command: [perl, config.program] })
  }

  /** Finds what earlier agents held; before any task is taken over. */
  async start(): Promise<void> {
    for (const containerId of this.#files.containers()) this.#held.add(containerId)
    if (this.#held.size === 0) return
    await this.#watchdog.ensure().catch((error: unknown) => this.#parts.log.error({ error }, 'lease.watchdog_missing'))
  }

  /** Containers go on, and so does their watchdog; where none is left it has ended when this resolves. */
  async stop(): Promise<void> {
    if (this.#held.size === 0) await this.#watchdog.gone()
  }

  /** A master is there; requests go out from now on. */
  connect(send: (request: Init<LeaseRequest>) => void): void {
    this.#send = send
    for (const lease of this.#leases.values()) lease.wake()
  }

  disconnect(): void {
    this.#send = undefined
  }

  /** An answer. One of a leader that has been followed by another is void. */
  granted(grant: LeaseGrant): void {
    if (grant.epoch < this.#parts.epoch()) return
    this.#leases.get(grant.containerId)?.take(grant)
  }

  /** The lease of an assignment; it is asked for from the first call on, until `leave`. */
  of(of: LeaseOf): Lease {
    const known = this.#leases.get(of.containerId)
    if (known !== undefined) return known
    const { clock, bootClock, log } = this.#parts
    const put = (containerId: string, term: Term): Promise<void> => this.#put(containerId, term)
    const lease = new Lease(of, { clock, bootClock, log, put, send: () => this.#sender() })
    this.#leases.set(of.containerId, lease)
    void lease.keep()
    return lease
  }

  /** Its launch puts the container under that lease. */
  want(containerId: string, lease: Lease): void {
    this.#wanted.set(containerId, lease)
  }

  /** Takes over a container that runs. */
  adopt(containerId: string, lease: Lease): Promise<void> {
    this.#wanted.set(containerId, lease)
    const file = this.#files.read(containerId)
    return lease.adopt(containerId, file?.bootId === this.#config.bootId ? file.term : undefined)
  }

  leave(assignedContainerId: string): void {
    this.#leases.get(assignedContainerId)?.leave()
    this.#leases.delete(assignedContainerId)
  }

  /** Why the container was ended, where that was for its lease; also where no agent lived then. Until it is cleaned up. */
  endOf(containerId: string): string | undefined {
    if (!this.#held.has(containerId) || this.#files.firedMs(containerId) === undefined) return undefined
    const term = this.#files.read(containerId)?.term
    return term === undefined ? 'its lease ran out' : ranOutMessage(term)
  }

  /** The last of the walls: once it stands the container may begin, and the watchdog knows until when. */
  isolator(): Isolator {
    return {
      name: 'lease',
      capabilities: async () => [this.#capability()],
      prepare: async ({ containerId, journal }) => {
        const lease = this.#wanted.get(containerId)
        if (lease === undefined) return {}
        await journal({ kind: 'lease_holder', id: join(this.#files.directory, containerId) })
        await lease.arm(containerId)
        return {}
      },
      cleanup: async ({ containerId }) => {
        this.#wanted.get(containerId)?.release(containerId)
        this.#wanted.delete(containerId)
        if (!this.#held.has(containerId)) return
        this.#files.remove(containerId)
        this.#held.delete(containerId)
      }
    }
  }

  #capability() {
    try {
      accessSync(perl, constants.X_OK)
      return { name: 'lease', present: true, detail: 'kept by a watchdog that needs no agent' }
    } catch {
      return { name: 'lease', present: false, detail: `${perl} is not there: apt-get install perl-base` }
    }
  }

  #sender(): ((of: LeaseOf) => number) | undefined {
    const send = this.#send
    if (send === undefined) return undefined
    return (of) => {
      this.#request += 1
      send({ ...of, epoch: this.#parts.epoch(), request: this.#request })
      return this.#request
    }
  }

  async #put(containerId: string, term: Term): Promise<void> {
    const { bootId, cgroupParent } = this.#config
    const cgroups = cgroupDirectories(this.#parts.layout, join(cgroupParent, containerId))
    this.#held.add(containerId)
    this.#files.write(containerId, { term, bootId, cgroups })
    await this.#watchdog.ensure()
    this.#parts.log.debug({ containerId, killAtMs: killAtMs(term) }, 'lease.put')
  }
}
