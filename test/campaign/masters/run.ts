import { readRemains } from '../../../master/found-anew.ts'
import { encodeSnapshot, freezeState } from '../../../master/state/snapshot.ts'
import { checkKey } from '../../linearizability/checker.ts'
import type { RunResult } from '../resume.ts'
import { Clients } from './clients.ts'
import { Group, settleMs } from './group.ts'
import { nameModel } from './model.ts'
import { olderLevel } from './older-build.ts'
import type { Plan } from './plan.ts'
import { Storm } from './storm.ts'
import type { MastersWorld, Place } from './world.ts'

const clients = 16
const recoveryMs = 10_000
const checkBudget = 3_000_000

/** One run: a cluster grows, a storm goes over it while clients write, all is healed, and what the clients saw is judged. */
export class MastersRun {
  readonly #group: Group
  readonly #plan: Plan
  readonly #clients: Clients
  readonly #storm: Storm
  readonly #violations: string[] = []
  readonly #counts: Record<string, number> = {}

  constructor(world: MastersWorld, plan: Plan, seed: number, signal: AbortSignal) {
    const group = new Group(world, signal)
    this.#group = group
    this.#plan = plan
    const running = (): readonly Place[] => group.places.filter((place) => place.isRunning)
    this.#clients = new Clients(() => running().map((place) => place.socket), seed + 2)
    this.#storm = new Storm(group, plan, {
      count: (name) => this.#count(name),
      violated: (sentence) => void this.#violations.push(sentence)
    })
  }

  async run(): Promise<RunResult> {
    try {
      return await this.#wholeRun()
    } finally {
      await this.#clients.breakOff()
    }
  }

  async #wholeRun(): Promise<RunResult> {
    await this.#grow()
    this.#clients.begin(clients)
    await this.#storm.blow()
    await this.#heal()
    await this.#recovers()
    if (this.#plan.isRolling) await this.#upgraded()
    await this.#clients.end()
    await this.#clients.readAll()
    await this.#keptIsThere()
    await this.#settled()
    await this.#sameEverywhere()
    this.#judge()
    const { operations, acknowledged, unknown } = this.#clients
    const counts = { ...this.#counts, operations: operations.length, acknowledged, unknown, terms: this.#terms() }
    return { violations: this.#violations, counts }
  }

  async #grow(): Promise<void> {
    const founder = this.#group.world.place(1)
    founder.start()
    this.#group.members.set(1, founder)
    await this.#group.status()
    const added: Promise<void>[] = []
    for (let id = 2; id <= this.#plan.masters; id += 1) added.push(this.#group.waiting(id).then(() => undefined))
    await Promise.all(added)
    for (let id = 2; id <= this.#plan.masters; id += 1) await this.#group.admit(this.#group.world.place(id))
    await this.#group.until(settleMs, 'all masters vote', async () => {
      const { members } = await this.#group.status()
      return members.filter((m) => m.role === 'voter').length === this.#plan.masters
    })
  }

  async #heal(): Promise<void> {
    for (const place of this.#group.world.places) {
      place.signal('SIGCONT')
      place.deafTo([])
      place.syncs(0, false)
      place.freeDisk()
    }
    for (const place of this.#group.places) {
      for (const death of place.deaths) this.#violations.push(`master ${place.id} ended by itself: ${death}`)
      place.start()
    }
  }

  async #recovers(): Promise<void> {
    const sinceMs = performance.now()
    const change = this.#clients.change()
    const late = this.#group.sleep(recoveryMs).then(() => 'late')
    if ((await Promise.race([change, late])) === 'late') {
      this.#violations.push(`no change was acknowledged within ${recoveryMs / 1000} s after all was healed`)
    }
    this.#counts['recoveryMs'] = Math.round(performance.now() - sinceMs)
    await Promise.race([change, this.#group.sleep(settleMs)])
  }

  /** Nobody goes over the level of the oldest build; once the last of it is gone, the cluster takes the level of the newer. */
  async #upgraded(): Promise<void> {
    const { featureLevel } = await this.#group.cluster()
    const hasOlder = this.#group.places.some((place) => place.build === 'older')
    if (hasOlder && featureLevel > olderLevel) {
      this.#violations.push(`the cluster is at feature level ${featureLevel} while a member knows ${olderLevel}`)
    }
    for (const place of this.#group.places) {
      if (place.build === 'newer') continue
      await place.kill('SIGTERM')
      place.build = 'newer'
      place.start()
    }
    await this.#group.until(settleMs, 'the feature level is raised', async () => {
      return (await this.#group.cluster()).featureLevel > olderLevel
    })
    this.#count('levels raised')
  }

  /** Of what was created once and never removed, all that was acknowledged is there, and nothing that was refused. */
  async #keptIsThere(): Promise<void> {
    const tasks = await this.#group.client().tasks.list({}, this.#group.patience(settleMs))
    const there = new Set(tasks.map((task) => task.name))
    for (const [name, outcome] of this.#clients.kept) {
      if (outcome === 'created' && !there.has(name)) this.#violations.push(`task ${name} was acknowledged, and is not there`)
      if (outcome === 'refused' && there.has(name)) this.#violations.push(`task ${name} was refused, and is there`)
      if (outcome === 'created') this.#count('kept')
    }
  }

  async #settled(): Promise<void> {
    await this.#group.until(settleMs, 'all members have all of the log', async () => {
      const { members, leader } = await this.#group.status()
      const applied = members.map((m) => m.own?.applied ?? -1)
      return leader !== 0 && applied.every((index) => index >= 0 && index === applied[0])
    })
    const { members } = await this.#group.status()
    for (const { raftId } of members) if (!this.#group.members.has(raftId)) this.#count('members of lost answers')
  }

  /** What lies on the disk of each, applied to the end, is one state. */
  async #sameEverywhere(): Promise<void> {
    const { members } = await this.#group.status()
    const ids = members.map((member) => member.raftId).filter((raftId) => this.#group.members.has(raftId))
    await Promise.all(this.#group.places.map((place) => place.kill('SIGTERM')))
    const states = new Map<string, number[]>()
    for (const raftId of ids) {
      const place = this.#group.members.get(raftId)
      if (place === undefined) continue
      const { state } = await readRemains(place.stateDir)
      // A no-op of a last election may stand at the end of some logs.
      const frozen = freezeState(Object.assign(state, { index: 0, atMs: 0 }), { nodeId: '', term: 0 })
      const content = Buffer.concat([...encodeSnapshot(frozen)]).toString('base64')
      states.set(content, [...(states.get(content) ?? []), raftId])
    }
    if (states.size > 1) this.#violations.push(`members hold different states: ${[...states.values()].join(' | ')}`)
  }

  #judge(): void {
    const byName = groupByKey(this.#clients.operations)
    for (const [name, operations] of byName) {
      const verdict = checkKey(operations, nameModel, checkBudget)
      if (verdict === 'violated')
        this.#violations.push(`the history of task ${name} is not linearizable (${operations.length} calls)`)
      if (verdict === 'unknown') this.#count('names not decided')
    }
    const leaders = new Map<string, Set<number>>()
    for (const place of this.#group.world.places) {
      for (const [, term = ''] of place.log.matchAll(/"term":(\d+)[^\n]*"replica\.leading"/g)) {
        leaders.set(term, (leaders.get(term) ?? new Set()).add(place.id))
      }
      if (place.log.includes('invariant broken')) this.#violations.push(`master ${place.id} broke an invariant: see its log`)
    }
    for (const [term, ids] of leaders) {
      if (ids.size > 1) this.#violations.push(`masters ${[...ids].join(' and ')} both led in term ${term}`)
    }
  }

  #terms(): number {
    return new Set(
      this.#group.world.places.flatMap((place) =>
        [...place.log.matchAll(/"term":(\d+)[^\n]*"replica\.leading"/g)].map(([, term]) => term)
      )
    ).size
  }

  #count(name: string): void {
    this.#counts[name] = (this.#counts[name] ?? 0) + 1
  }
}

function groupByKey<T extends { readonly key: string }>(rows: readonly T[]): ReadonlyMap<string, readonly T[]> {
  const groups = new Map<string, T[]>()
  for (const row of rows) {
    const group = groups.get(row.key) ?? []
    group.push(row)
    groups.set(row.key, group)
  }
  return groups
}
