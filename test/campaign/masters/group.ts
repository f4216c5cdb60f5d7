import { OperatorClient } from '../../../sdk/operator-client.ts'
import type { ClusterFacts } from '../../../sdk/operator-messages.ts'
import type { MembersFacts } from '../../../sdk/raft-messages.ts'
import type { MastersWorld, Place } from './world.ts'

export const settleMs = 20_000

/** The masters that are members just now, and how one speaks with whichever of them answers. */
export class Group {
  readonly world: MastersWorld
  readonly signal: AbortSignal
  /** Places of members, by Raft id. */
  readonly members = new Map<number, Place>()

  constructor(world: MastersWorld, signal: AbortSignal) {
    this.world = world
    this.signal = signal
  }

  get places(): readonly Place[] {
    return [...this.members.values()]
  }

  /** Started, and ready to be added. */
  async waiting(id: number): Promise<Place> {
    const place = this.world.place(id)
    place.start(this.world.place(1))
    await this.until(settleMs, `master ${id} waits`, async () => place.log.includes('master.waits_to_be_added'))
    return place
  }

  async admit(place: Place): Promise<void> {
    await this.until(settleMs, `master ${place.id} is added`, async () => {
      const { raftId } = await this.client().raft.add(place.address, this.patience())
      this.members.set(raftId, place)
      return true
    })
  }

  client(): OperatorClient {
    const endpoints = this.places
      .filter((place) => place.isRunning)
      .map((place) => ({ kind: 'socket', path: place.socket }) as const)
    return new OperatorClient(endpoints)
  }

  /** From whichever master answers. */
  async status(withinMs = settleMs): Promise<MembersFacts> {
    let found: MembersFacts | undefined
    await this.until(withinMs, 'a master answers', async () => {
      found = await this.client().raft.members(this.patience())
      return found.leader !== 0
    })
    if (found === undefined) throw new Error('no master answers')
    return found
  }

  /** As the leader sees it. */
  async cluster(): Promise<ClusterFacts> {
    return await this.client().cluster(this.patience())
  }

  async until(withinMs: number, what: string, look: () => Promise<boolean>): Promise<void> {
    for (const endMs = performance.now() + withinMs; ; ) {
      this.signal.throwIfAborted()
      const seen = await look().catch((e: unknown) => (e instanceof Error ? e.message : String(e)))
      if (seen === true) return
      if (performance.now() > endMs) throw new Error(`${what}: not within ${withinMs / 1000} s (${seen})`)
      await this.sleep(25)
    }
  }

  patience(ms = 5_000): AbortSignal {
    return AbortSignal.any([this.signal, AbortSignal.timeout(ms)])
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)))
  }
}
