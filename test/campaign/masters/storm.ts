import type { Group } from './group.ts'
import { type Plan, type PlannedFault, stormMs } from './plan.ts'
import type { Build, Place } from './world.ts'

/** What can be refused, or fail, while the storm is on. */
const requests = ['grow', 'replace', 'remove', 'transfer', 'snapshot']

interface Told {
  readonly count: (name: string) => void
  readonly violated: (sentence: string) => void
}

/** Carries out the faults of a plan, several at a time. */
export class Storm {
  readonly #group: Group
  readonly #plan: Plan
  readonly #told: Told
  #spare: number

  constructor(group: Group, plan: Plan, told: Told) {
    this.#group = group
    this.#plan = plan
    this.#told = told
    this.#spare = plan.masters
  }

  async blow(): Promise<void> {
    const sinceMs = performance.now()
    const ends: Promise<void>[] = []
    for (const fault of this.#plan.faults) {
      await this.#group.sleep(sinceMs + fault.atMs - performance.now())
      this.#told.count(fault.kind)
      ends.push(this.#strike(fault).catch((e: unknown) => this.#tolerate(fault, e)))
    }
    await this.#group.sleep(sinceMs + stormMs - performance.now())
    await Promise.all(ends)
  }

  /** Changes of the members may be refused or fail while the storm is on. */
  #tolerate(fault: PlannedFault, e: unknown): void {
    this.#group.signal.throwIfAborted()
    if (requests.includes(fault.kind)) this.#told.count(`${fault.kind} refused`)
    else throw e
  }

  async #strike(fault: PlannedFault): Promise<void> {
    const victim = await this.#victim(fault)
    const others = this.#group.world.places.filter((place) => place !== victim).map((place) => place.id)
    switch (fault.kind) {
      case 'kill':
        return await this.#down([victim], fault)
      case 'kill-all':
        return await this.#down(this.#group.places, fault)
      case 'freeze':
        return await this.#during(fault, [() => victim.signal('SIGSTOP'), () => victim.signal('SIGCONT')])
      case 'isolate':
        return await this.#cut(fault, new Map([[victim, others], ...this.#withoutHim(victim)]))
      case 'one-way':
        return await this.#cut(fault, fault.draw % 2 === 0 ? new Map([[victim, others]]) : new Map(this.#withoutHim(victim)))
      case 'one-link': {
        const other = this.#group.places.find((place) => place !== victim)
        const cut: readonly (readonly [Place, readonly number[]])[] =
          other === undefined
            ? []
            : [
                [victim, [other.id]],
                [other, [victim.id]]
              ]
        return await this.#cut(fault, new Map(cut))
      }
      case 'bridge':
        return await this.#cut(fault, this.#halves(victim))
      case 'halves':
        return await this.#cut(fault, this.#halves())
      case 'bad-links':
        return await this.#badLinks(fault)
      case 'slow-sync':
        return await this.#during(fault, [() => victim.syncs(10 + (fault.draw % 1_500), false), () => victim.syncs(0, false)])
      case 'failing-sync':
        return await this.#failSyncs(victim, fault)
      case 'full-disk':
        return await this.#during(fault, [() => this.#smallDisk()?.fillDisk(), () => this.#smallDisk()?.freeDisk()])
      case 'clock-step':
        return await this.#during(fault, [() => victim.clock((fault.draw % 7_200) - 3_600), () => victim.clock(0)])
      case 'transfer':
        await this.#group.client().raft.transfer(undefined, this.#group.patience())
        return
      case 'snapshot':
        await this.#group.client().raft.snapshot(this.#group.patience())
        return
      case 'grow':
        return await this.#join()
      case 'replace':
        return await this.#replace(victim)
      case 'remove':
        return await this.#remove(victim)
      case 'upgrade':
        return await this.#rebuild(victim, 'newer')
      case 'downgrade':
        return await this.#rebuild(victim, 'older')
    }
  }

  async #victim({ onLeader, draw }: PlannedFault): Promise<Place> {
    const places = this.#group.places
    const leader = onLeader
      ? await this.#group.status(500).then(
          ({ leader: id }) => this.#group.members.get(id),
          () => undefined
        )
      : undefined
    const place = leader ?? places[draw % places.length]
    if (place === undefined) throw new Error('there is no master')
    return place
  }

  async #during({ lastsMs }: PlannedFault, [begin, end]: readonly [() => void, () => void]): Promise<void> {
    begin()
    await this.#group.sleep(lastsMs)
    end()
  }

  async #down(places: readonly Place[], { lastsMs }: PlannedFault): Promise<void> {
    await Promise.all(places.map((place) => place.kill()))
    await this.#group.sleep(lastsMs / 2)
    for (const place of places) place.start()
  }

  async #failSyncs(place: Place, { lastsMs }: PlannedFault): Promise<void> {
    place.syncs(0, true)
    await this.#group.sleep(lastsMs / 4)
    place.syncs(0, false)
    if (place.isRunning) return
    this.#told.count('ended by EIO')
    place.start()
  }

  async #cut(fault: PlannedFault, deaf: ReadonlyMap<Place, readonly number[]>): Promise<void> {
    await this.#during(fault, [
      () => {
        for (const [place, ids] of deaf) place.deafTo(ids)
      },
      () => {
        for (const place of deaf.keys()) place.deafTo([])
      }
    ])
  }

  #withoutHim(victim: Place): readonly (readonly [Place, readonly number[]])[] {
    return this.#group.places.flatMap((place) => (place === victim ? [] : [[place, [victim.id]] as const]))
  }

  /** Whoever is the bridge reaches both. */
  #halves(bridge?: Place): ReadonlyMap<Place, readonly number[]> {
    const places = this.#group.places.filter((place) => place !== bridge)
    const isLeft = (place: Place): boolean => places.indexOf(place) < Math.floor(places.length / 2)
    return new Map(
      places.map((place) => [place, places.filter((other) => isLeft(other) !== isLeft(place)).map((other) => other.id)])
    )
  }

  async #badLinks({ draw, lastsMs }: PlannedFault): Promise<void> {
    const faults = { delayMs: draw % 60, lost: draw % 150, doubled: draw % 200, overtaken: draw % 100 }
    const all = this.#group.world.places
    const set = (to: object): void => {
      for (const place of all) for (const other of all) if (place !== other) place.link(other.id, to)
    }
    set(faults)
    await this.#group.sleep(lastsMs)
    set({})
  }

  #smallDisk(): Place | undefined {
    return this.#plan.smallDisk === 0 ? undefined : this.#group.world.place(this.#plan.smallDisk)
  }

  /** Two at once, so that they vote. */
  async #join(): Promise<void> {
    if (this.#spare + 2 > this.#group.world.places.length) return
    const ids = [this.#spare + 1, this.#spare + 2]
    this.#spare += 2
    const places = await Promise.all(ids.map((id) => this.#group.waiting(id)))
    for (const place of places) {
      const { raftId } = await this.#group.client().raft.add(place.address, this.#group.patience())
      this.#group.members.set(raftId, place)
    }
  }

  async #replace(victim: Place): Promise<void> {
    if (this.#spare + 1 > this.#group.world.places.length) return
    if (this.#isAnchor(victim)) return
    this.#spare += 1
    const [leaving] = [...this.#group.members].find(([, place]) => place === victim) ?? []
    if (leaving === undefined) return
    const place = await this.#group.waiting(this.#spare)
    const { raftId } = await this.#group.client().raft.replace(leaving, place.address, this.#group.patience(15_000))
    this.#group.members.set(raftId, place)
    this.#group.members.delete(leaving)
    await victim.kill()
  }

  async #remove(victim: Place): Promise<void> {
    const [leaving] = [...this.#group.members].find(([, place]) => place === victim) ?? []
    if (leaving === undefined || this.#group.members.size <= 3 || this.#isAnchor(victim)) return
    await this.#group.client().raft.remove(leaving, this.#group.patience())
    this.#group.members.delete(leaving)
    await victim.kill()
  }

  async #rebuild(place: Place, build: Build): Promise<void> {
    if (this.#isAnchor(place)) return
    await place.kill('SIGTERM')
    place.build = build
    place.start()
  }

  /** Keeps the older build until the storm is over, so that the cluster has to stay at its level and others may go back. */
  #isAnchor(place: Place): boolean {
    return this.#plan.isRolling && place.id === 1
  }
}
