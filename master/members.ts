import type { Clock } from '../base/clock.ts'
import { errnoOf, Fault, isFault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import type { Service } from '../base/service.ts'
import { memberOf, planPromotion, planRemoval, planReplacement } from './consensus/change-plan.ts'
import type { Member } from './consensus/membership.ts'
import type { OpenReplica } from './consensus/open-replica.ts'
import type { RaftFacts } from './consensus/raft-facts.ts'
import { clusterKeyText } from './identity/cluster-key.ts'
import type { PeerCaller } from './peers/peer-caller.ts'
import type { PeerAddress } from './peers/peer-link.ts'
import type { Proposer } from './proposer.ts'

interface MembersParts {
  readonly replica: Pick<
    OpenReplica,
    'state' | 'facts' | 'changeMembers' | 'transfer' | 'snapshot' | 'newestSnapshot' | 'read' | 'leadership'
  >
  /** Undefined where this master has no `--peer-listen`. */
  readonly caller: Pick<PeerCaller, 'knock' | 'invite' | 'peerAt'> | undefined
  readonly proposer: Pick<Proposer, 'propose'>
  readonly clock: Clock
  readonly log: Log
}

interface MembersConfig {
  readonly clusterId: string
  readonly formerClusterIds: readonly string[]
  /** Where the others, and agents, reach this master; empty: nowhere. */
  readonly address: string
  readonly agentAddress: string
  readonly agentToken: string
  readonly operatorToken: string
  /** Opens the authority’s key: whoever may come to lead needs it. */
  readonly clusterKey: Uint8Array | undefined
}

export interface Added {
  readonly raftId: number
  readonly nodeId: string
}

const lookMs = 500
const repeatMs = 50
const dialMs = 5_000
/** The core counts anew at each election timeout who answers: two looks this far apart miss nobody who does. */
const activeMs = 150
const catchUpMs = 60_000
const transferMs = 5_000

/** The leader's hand on the membership: invites, promotes, takes out, hands over. */
export class Members implements Service {
  readonly name = 'members'
  readonly #parts: MembersParts
  readonly #config: MembersConfig
  readonly #closing = new AbortController()
  #loop: Promise<void> = Promise.resolve()
  #agentAddresses: readonly string[] = []

  constructor(parts: MembersParts, config: MembersConfig) {
    this.#parts = parts
    this.#config = config
  }

  /** Where agents reach the masters, this one first. */
  get agentAddresses(): readonly string[] {
    return this.#agentAddresses
  }

  async start(): Promise<void> {
    this.#lookAtAddresses(await this.#parts.replica.facts())
    this.#loop = this.#watch()
  }

  async stop(): Promise<void> {
    this.#closing.abort(new Fault('unavailable', 'this master stops, or leads no more: look at the members, then ask again'))
    await this.#loop
  }

  /**
   * Takes in the master that waits at the address; the same call again goes on where one broke off. It learns at first and becomes a
   * voter when it has caught up and its vote helps (consensus/change-plan.ts). Throws `Fault('unavailable')` where nobody answers.
   */
  async add(address: string): Promise<Added> {
    const { caller, replica, log } = this.#parts
    if (caller === undefined)
      throw new Fault('conflict', 'this master is alone: start it with --peer-listen, so that others reach it')
    const peer = peerAt(caller, address)
    await this.#nameSelf()
    const signal = AbortSignal.any([this.#closing.signal, AbortSignal.timeout(dialMs)])
    const candidate = await told(caller.knock(peer, signal), address)
    const facts = await replica.facts()
    if (candidate.raftId !== 0) {
      const known = facts.members.find((member) => member.raftId === candidate.raftId)
      if (known !== undefined) return { raftId: known.raftId, nodeId: known.nodeId }
      throw new Fault(
        'conflict',
        `the master at ${address} was member ${candidate.raftId} and is none any more: it comes back only with an empty state directory`
      )
    }
    const { nodeId, agentAddress, featureLevel } = candidate
    const level = replica.state.featureLevel
    if (featureLevel < level) {
      const next = 'start it with a build as new as this one'
      throw new Fault(
        'unsupported',
        `the master at ${address} knows feature level ${featureLevel}, the cluster is at ${level}: ${next}`
      )
    }
    const before = facts.members.find((member) => member.nodeId === nodeId)
    const raftId = before?.raftId ?? facts.highestRaftId + 1
    if (before === undefined) {
      await replica.changeMembers([{ type: 'add-learner', nodeId: raftId }], [{ raftId, nodeId, address, agentAddress }])
    }
    const { clusterId, formerClusterIds, agentToken, operatorToken, clusterKey: key } = this.#config
    const clusterKey = key === undefined ? '' : clusterKeyText(key)
    const invitation = { clusterId, raftId, nodeId, agentToken, operatorToken, formerClusterIds, clusterKey }
    await told(caller.invite(peer, invitation, signal), address)
    log.info({ raftId, nodeId, address }, 'member.added')
    return { raftId, nodeId }
  }

  /** Resolves once the newcomer stands where the other stood. Throws `Fault('timeout')` where it does not catch up. */
  async replace(raftId: number, address: string): Promise<Added> {
    const { replica, clock, log } = this.#parts
    const facts = await replica.facts()
    const isGone = facts.members.every((member) => member.raftId !== raftId)
    if (isGone && raftId > facts.highestRaftId) memberOf(facts, raftId)
    await this.#notLed(raftId)
    const added = await this.add(address)
    const until = clock.monotonicMs() + catchUpMs
    for (;;) {
      const changes = planReplacement(await this.#facts(), raftId, added.raftId)
      if (changes !== undefined) {
        if (changes.length > 0) await replica.changeMembers(changes, [])
        await this.#void(facts.members.find((member) => member.raftId === raftId)?.nodeId)
        log.info({ raftId, by: added.raftId }, 'member.replaced')
        return added
      }
      if (clock.monotonicMs() >= until) {
        throw new Fault(
          'timeout',
          `member ${added.raftId} has not caught up after ${catchUpMs / 1000} s: ask again, it goes on learning`
        )
      }
      await clock.sleep(repeatMs, this.#closing.signal)
    }
  }

  /** Resolves once it is no member and its certificate is void. */
  async remove(raftId: number): Promise<void> {
    const { replica, log } = this.#parts
    const facts = await this.#facts()
    const changes = planRemoval(facts, raftId)
    await this.#notLed(raftId)
    await replica.changeMembers(changes, [])
    await this.#void(memberOf(facts, raftId).nodeId)
    log.info({ raftId }, 'member.removed')
  }

  /** Resolves once another leads. Throws `Fault('conflict')` where nobody can take over. */
  async transfer(to?: number): Promise<{ readonly from: number }> {
    const { replica, clock } = this.#parts
    const facts = await this.#facts()
    if (to === facts.raftId) return { from: facts.raftId }
    if (to !== undefined && memberOf(facts, to).role !== 'voter') {
      throw new Fault('conflict', `member ${to} is no voter: only a voter can lead`)
    }
    const over = new AbortController()
    // At once: the connection that is answered ends with the rooms of this term.
    const lost = new Promise<boolean>((resolve) => {
      replica.leadership.watch(({ kind }) => kind === 'lost' && resolve(true), over.signal)
    })
    try {
      if (!(await replica.transfer(to))) {
        throw new Fault('conflict', to === undefined ? 'there is no other voter that answers' : `member ${to} does not answer`)
      }
      const late = clock.sleep(transferMs, over.signal).then(() => false)
      if (await Promise.race([lost, late])) return { from: facts.raftId }
    } finally {
      over.abort()
    }
    throw new Fault('timeout', 'nobody took over: this master still leads; look at hearth raft status')
  }

  async snapshot(): Promise<{ readonly snapshotIndex: number }> {
    const { replica } = this.#parts
    await replica.snapshot()
    return { snapshotIndex: (await replica.facts()).snapshotIndex }
  }

  /** All that was acknowledged before the call, as the bytes of a snapshot file. */
  async backup(): Promise<Buffer> {
    const { replica } = this.#parts
    const index = await replica.read(this.#closing.signal)
    do await replica.snapshot()
    while ((await replica.facts()).snapshotIndex < index)
    return await replica.newestSnapshot()
  }

  /** Its certificate is refused everywhere from now on. Not before it has left: its vote may be needed for that. */
  async #void(nodeId: string | undefined): Promise<void> {
    const { replica, proposer } = this.#parts
    if (nodeId === undefined || !replica.state.nodeIdentities.has(nodeId)) return
    await proposer.propose({ removeNode: { nodeId } }, this.#closing.signal)
  }

  /** Whoever leads does not take itself out: the next leader does. */
  async #notLed(raftId: number): Promise<void> {
    if ((await this.#parts.replica.facts()).raftId !== raftId) return
    await this.transfer()
    throw new Fault('not-leader', `member ${raftId} led and has handed over: ask the master that leads now`)
  }

  async #facts(): Promise<RaftFacts> {
    const { replica, clock } = this.#parts
    const before = await replica.facts()
    await clock.sleep(activeMs, this.#closing.signal)
    const facts = await replica.facts()
    const wasActive = new Set(before.members.filter((m) => m.progress?.isActive === true).map((m) => m.raftId))
    const members = facts.members.map((m) =>
      m.progress === null || !wasActive.has(m.raftId) ? m : { ...m, progress: { ...m.progress, isActive: true } }
    )
    return { ...facts, members }
  }

  async #watch(): Promise<void> {
    const { clock, log } = this.#parts
    const { signal } = this.#closing
    while (!signal.aborted) {
      try {
        this.#lookAtAddresses(await this.#parts.replica.facts())
        await this.#nameSelf()
        await this.#promote()
      } catch (e) {
        if (!isFault(e)) throw e
        if (!signal.aborted) log.info({ code: e.code, err: e.message }, 'member.change_put_off')
      }
      await clock.sleep(lookMs, signal).catch(() => undefined) // Only the stop ends it early.
    }
  }

  #lookAtAddresses({ raftId, members }: RaftFacts): void {
    const ownFirst = [...members].sort((a, b) => Number(b.raftId === raftId) - Number(a.raftId === raftId))
    this.#agentAddresses = ownFirst.map((member) => member.agentAddress).filter((address) => address !== '')
  }

  /** A founder has been alone until now, and a master may have moved. */
  async #nameSelf(): Promise<void> {
    const { replica } = this.#parts
    const { address, agentAddress } = this.#config
    const { raftId, members } = await replica.facts()
    const own = members.find((member) => member.raftId === raftId)
    if (own === undefined || (own.address === address && own.agentAddress === agentAddress)) return
    const row: Member = { raftId, nodeId: own.nodeId, address, agentAddress }
    await replica.changeMembers([{ type: 'update', nodeId: raftId }], [row])
  }

  async #promote(): Promise<void> {
    const changes = planPromotion(await this.#parts.replica.facts())
    if (changes.length === 0) return
    const { voters } = await this.#parts.replica.changeMembers(changes, [])
    this.#parts.log.info({ voters }, 'member.promoted')
  }
}

/** Throws `Fault('invalid')`. */
function peerAt(caller: Pick<PeerCaller, 'peerAt'>, address: string): PeerAddress {
  const peer = caller.peerAt({ raftId: 0, address })
  if (peer === undefined) {
    const form = 'tls:HOST:PORT, or tcp:127.0.0.1:PORT where all of them are on one host and speak in clear'
    throw new Fault('invalid', `a master is reached as this one is, at ${form}, not at ${address}`)
  }
  return peer
}

async function told<T>(asked: Promise<T>, address: string): Promise<T> {
  try {
    return await asked
  } catch (cause) {
    const seen = errnoOf(cause)
    if (seen === undefined) throw cause
    const next = 'start it there with --wait yes --peer-listen and the file master-token of this cluster'
    throw new Fault('unavailable', `no master waits at ${address} (${seen}): ${next}`, { address }, cause)
  }
}
