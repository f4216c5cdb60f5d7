import { type ChildProcess, fork } from 'node:child_process'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Fault } from '../../base/fault.ts'
import { parsePlace } from '../../identity/places.ts'
import { leaderAmong, type MasterUnderTest, startMasters, tokenFor } from './agents/masters.ts'
import type { SwarmOrder, SwarmWish, SwarmWord } from './agents/swarm-order.ts'
import type { Bench, Outcome } from './bench.ts'
import { eventually } from './eventually.ts'
import { rssMb } from './machine.ts'
import { end } from './programs.ts'
import { judged, type Row } from './report.ts'
import { percentile, rounded, spreadOf } from './statistics.ts'

const pingMs = 20_000
const joinWithinMs = 600_000
const returnWithinMs = 180_000
/** Collections of garbage and what was only needed for the rush are not to be counted. */
const restMs = 10_000
const lookEveryMs = 500

/** What so many agents cost a leader, all over TLS, and how they come back when it is killed. */
export async function agents(bench: Bench): Promise<Outcome> {
  const masters = await startMasters(bench)
  const before = await leaderAmong(masters)
  const leader = masters[before.raftId - 1]
  const first = masters[0]
  if (leader === undefined || first === undefined) throw new Fault('unavailable', 'there is no leader')
  const idle = new Map(masters.map((master) => [master, rssMb(master.pid)]))
  const order = {
    agents: bench.n,
    door: parsePlace(first.door),
    // A join whose answer was lost is repeated, and uses it once more.
    token: await tokenFor(first, 'agent', 2 * bench.n),
    masters: masters.map((master) => `tls:${master.door}`)
  }
  const swarm = new SwarmUnderTest(bench, order)
  const joinedMs = await swarm.untilJoined()
  swarm.ask({ kind: 'connect' })
  const connectedMs = await swarm.untilRegistered(before.term)
  await pause(restMs, undefined, { signal: bench.signal })
  const held = perAgentKb(leader, idle, bench.n)
  const calm = await swarm.ping(pingMs)
  const settled = await leaderAmong(masters)

  const survivors = masters.filter((master) => master !== leader)
  swarm.mark()
  await leader.kill()
  const backMs = await swarm.untilRegistered(settled.term + 1)
  await pause(restMs, undefined, { signal: bench.signal })
  const after = await leaderAmong(survivors)
  const next = masters[after.raftId - 1]
  if (next === undefined) throw new Fault('unavailable', 'nobody leads')
  const heldAfter = perAgentKb(next, idle, bench.n)
  const calmAfter = await swarm.ping(pingMs)

  const silence = await silenceTold(bench, swarm, next)

  const once = (name: string, ms: number): Row => ({ name, n: bench.n, perSecond: rounded(bench.n / (ms / 1000)) })
  const elections = after.term - settled.term
  return {
    rows: [
      once('agents join with a token', joinedMs),
      once('agents connect and register', connectedMs),
      { name: 'leader, idle', n: 1, rssMb: rounded(idle.get(leader) ?? Number.NaN) },
      { name: 'leader, with agents', n: bench.n, rssMb: rounded(rssOf(held, idle.get(leader), bench.n)) },
      { name: 'heartbeat answered', ...spreadOf(calm) },
      once('agents come back after the leader was killed', backMs),
      { name: 'next leader, with agents', n: bench.n, rssMb: rounded(rssOf(heldAfter, idle.get(next), bench.n)) },
      { name: 'heartbeat answered by the next leader', ...spreadOf(calmAfter) },
      { name: 'silent agent told unreachable', ...spreadOf(silence) }
    ],
    goals: [
      judged({ name: 'memory of an agent', unit: 'KB', bound: 'at most', goal: 75 }, held),
      judged({ name: 'memory of an agent that came back', unit: 'KB', bound: 'at most', goal: 110 }, heldAfter),
      judged({ name: 'heartbeat answered, p99', unit: 'ms', bound: 'at most', goal: 30 }, percentile(calm, 0.99)),
      judged({ name: 'all back after the leader was killed', unit: 's', bound: 'at most', goal: 60 }, backMs / 1000),
      judged(
        { name: 'silent agent told unreachable, slowest', unit: 's', bound: 'at most', goal: 5 },
        percentile(silence, 1) / 1000
      ),
      judged(
        { name: 'elections but the one after the kill', unit: '', bound: 'at most', goal: 0 },
        elections - 1 + settled.term - before.term
      )
    ],
    notes: [
      'Each agent has a certificate of its own, TLS 1.3, and beats once a second; they all live in one process, on the masters’ machine,',
      'which needs as much of the processor as the masters do: a round trip has both in it. The masters are three, and two in the end.'
    ]
  }
}

const muteMost = 100
const silenceWithinMs = 30_000

/** Milliseconds from an agent's last word to the leader's that it cannot be reached, by the leader's log. */
async function silenceTold(bench: Bench, swarm: SwarmUnderTest, leader: MasterUnderTest): Promise<readonly number[]> {
  const { agents: silent, atMs } = await swarm.mute(Math.min(muteMost, Math.ceil(bench.n / 2)))
  const wanted = new Set(silent)
  let told: readonly number[] = []
  await eventually(
    'silent agents to be told unreachable',
    async () => {
      await pause(lookEveryMs, undefined, { signal: bench.signal })
      const lines = leader.logLines('agent.unreachable').filter(({ agentId }) => wanted.has(String(agentId)))
      told = lines.map(({ time }) => Number(time) - atMs)
      return told.length === wanted.size
    },
    silenceWithinMs
  )
  return told
}

const perAgentKb = (master: MasterUnderTest, idle: ReadonlyMap<MasterUnderTest, number>, n: number): number =>
  ((rssMb(master.pid) - (idle.get(master) ?? Number.NaN)) * 1024) / n

const rssOf = (perAgent: number, idleMb: number | undefined, n: number): number => (perAgent * n) / 1024 + (idleMb ?? Number.NaN)

type Muted = Extract<SwarmWord, { kind: 'muted' }>

/** The process in which all agents live. */
class SwarmUnderTest {
  readonly #bench: Bench
  readonly #child: ChildProcess
  #joined = 0
  #registered = 0
  #epoch = 0
  #pinged: ((ms: readonly number[]) => void) | undefined
  #muted: ((of: Muted) => void) | undefined
  #problem: string | undefined
  #sinceMs = performance.now()

  constructor(bench: Bench, order: SwarmOrder) {
    this.#bench = bench
    const program = join(import.meta.dirname, 'agents-swarm.mjs')
    this.#child = fork(program, [JSON.stringify(order)], { env: { PATH: process.env['PATH'] }, detached: true })
    bench.cleanup.add('the swarm of agents', () => end(this.#child))
    this.#child.on('message', (word: SwarmWord) => this.#hear(word))
    this.#child.once('exit', (code, signal) => {
      this.#problem ??= `the swarm of agents ended with ${signal ?? code}`
    })
  }

  /** From here on the waits count. */
  mark(): void {
    this.#sinceMs = performance.now()
  }

  ask(wish: SwarmWish): void {
    this.mark()
    this.#child.send(wish)
  }

  untilJoined(): Promise<number> {
    return this.#until('joined', () => this.#joined, joinWithinMs)
  }

  /** With a leader of that term or a later one. */
  untilRegistered(epoch: number): Promise<number> {
    return this.#until('registered', () => (this.#epoch >= epoch ? this.#registered : 0), returnWithinMs)
  }

  /** Milliseconds since the mark. */
  async #until(what: string, count: () => number, withinMs: number): Promise<number> {
    const { n, signal } = this.#bench
    const late = performance.now() + withinMs
    while (count() < n) {
      signal.throwIfAborted()
      if (this.#problem !== undefined) throw new Fault('unavailable', this.#problem)
      this.#bench.progress(`agents ${what}: ${count()} of ${n}`)
      if (performance.now() > late) throw new Fault('timeout', `only ${count()} of ${n} agents ${what} in time`)
      await pause(20)
    }
    return performance.now() - this.#sinceMs
  }

  async ping(forMs: number): Promise<readonly number[]> {
    const pinged = new Promise<readonly number[]>((resolve) => {
      this.#pinged = resolve
    })
    this.ask({ kind: 'ping', forMs })
    return await pinged
  }

  async mute(agents: number): Promise<Muted> {
    const muted = new Promise<Muted>((resolve) => {
      this.#muted = resolve
    })
    this.ask({ kind: 'mute', agents })
    return await muted
  }

  #hear(word: SwarmWord): void {
    switch (word.kind) {
      case 'joined':
        this.#joined = word.agents
        return
      case 'registered':
        this.#registered = word.agents
        this.#epoch = word.epoch
        return
      case 'pinged':
        this.#pinged?.(word.ms)
        return
      case 'muted':
        this.#muted?.(word)
        return
      case 'broken':
        this.#problem = word.message
    }
  }
}
