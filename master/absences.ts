import type { Clock } from '../base/clock.ts'
import { isFault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import type { Service } from '../base/service.ts'
import { canMove, isTerminal } from '../proto/task-state.ts'
import { AbsenceBook, type AbsenceRules, type Verdict } from './absence-book.ts'
import { attemptOf } from './attempts.ts'
import type { Background } from './background.ts'
import type { Endings } from './endings.ts'
import { type Frameworks, masterStatus } from './frameworks.ts'
import type { LiveTask, LiveTasks } from './live-tasks.ts'
import type { NodeChanges } from './node-changes.ts'
import type { Proposer } from './proposer.ts'
import type { Seats } from './seats.ts'
import { type ClusterState, levelOfReturn } from './state/cluster.ts'

interface AbsencesParts {
  readonly state: ClusterState
  readonly seats: Pick<Seats, 'link'>
  readonly liveTasks: Pick<LiveTasks, 'tasksOn'>
  readonly changes: Pick<NodeChanges, 'touched'>
  readonly frameworks: Pick<Frameworks, 'deliver'>
  readonly endings: Pick<Endings, 'commit'>
  readonly proposer: Pick<Proposer, 'propose'>
  readonly background: Background
  readonly clock: Clock
  readonly log: Log
}

const lookMs = 100
/** Commands of verdicts in flight: registrations have the rest of the proposer. */
const atOnce = 16
const againMs = 1_000

/** Agents that are away: judged when their time is over, at no more than a bounded rate (docs/decisions/0046). */
export class Absences implements Service {
  readonly name = 'absences'
  readonly #parts: AbsencesParts
  readonly #book: AbsenceBook
  readonly #closing = new AbortController()
  #loop: Promise<void> = Promise.resolve()
  #underWay = 0
  #isPutOff = false

  constructor(parts: AbsencesParts, rules: AbsenceRules) {
    this.#parts = parts
    this.#book = new AbsenceBook(rules, parts.clock.monotonicMs())
  }

  async start(): Promise<void> {
    for (const [agentId, { condition, mayReturn }] of this.#parts.state.agents) {
      if (condition !== 'agent_gone') this.#book.expect(agentId)
      // The leader before may have ended between the two.
      else if (mayReturn) this.#giveUp(agentId)
    }
    this.#loop = this.#watch()
  }

  async stop(): Promise<void> {
    this.#closing.abort()
    await this.#loop
  }

  left(agentId: string, withinMs: number): void {
    this.#book.left(agentId, this.#parts.clock.monotonicMs(), withinMs)
  }

  came(agentId: string): void {
    this.#book.came(agentId, this.#parts.clock.monotonicMs())
  }

  async #watch(): Promise<void> {
    const { signal } = this.#closing
    const { clock } = this.#parts
    while (!signal.aborted) {
      await clock.sleep(lookMs, signal).catch(() => undefined) // Only the stop ends it early.
      if (signal.aborted) return
      for (const verdict of this.#book.judge(clock.monotonicMs(), atOnce - this.#underWay)) this.#carryOut(verdict)
      this.#tellPutOff(this.#book.putOff)
    }
  }

  #tellPutOff(agents: number): void {
    if (agents > 0 !== this.#isPutOff) {
      this.#isPutOff = agents > 0
      if (this.#isPutOff) this.#parts.log.warn({ agents }, 'agent.judgements_put_off')
    }
  }

  #carryOut(verdict: Verdict): void {
    this.#underWay += 1
    this.#parts.background.run('agent.condition_not_committed', async (signal) => {
      try {
        if (verdict.kind === 'gone') await this.#gone(verdict, signal)
        else await this.#unreachable(verdict, signal)
      } catch (e) {
        if (isFault(e)) this.#book.again(verdict, this.#parts.clock.monotonicMs(), againMs)
        throw e
      } finally {
        this.#underWay -= 1
      }
    })
  }

  async #unreachable({ agentId, silentMs }: Verdict, signal: AbortSignal): Promise<void> {
    const { state, seats, liveTasks, changes, proposer, clock, log } = this.#parts
    if (seats.link(agentId) !== undefined) return
    if (state.agents.get(agentId)?.condition === 'active') {
      await proposer.propose({ setAgentCondition: { agentId, condition: 'agent_unreachable' } }, signal)
      log.warn({ agentId, silentMs: Math.round(silentMs) }, 'agent.unreachable')
    }
    if (seats.link(agentId) === undefined) {
      this.#book.unreachable(agentId, clock.monotonicMs())
      for (const task of liveTasks.tasksOn(agentId)) this.#outOfReach(task)
    } else if (state.agents.get(agentId)?.condition === 'agent_unreachable') {
      // It registered while that was being committed.
      await proposer.propose({ setAgentCondition: { agentId, condition: 'active' } }, signal)
    }
    changes.touched(agentId)
  }

  #outOfReach(task: LiveTask): void {
    const { state } = task.status
    if (this.#neverBegan(task)) {
      this.#drop(task)
      return
    }
    if (task.released || state === 'unspecified_state' || !canMove(state, 'unreachable')) return
    task.status = {
      ...masterStatus(task, 'unreachable', 'agent_disconnected', 'its node is out of reach', this.#parts.clock.wallMs()),
      ...attemptOf(task.status)
    }
    this.#parts.frameworks.deliver(task.frameworkId, { kind: 'status', status: task.status })
  }

  /** Without a grant on record it cannot run, and whatever comes there later is refused one. */
  #neverBegan({ frameworkId, taskId, containerId, released }: LiveTask): boolean {
    const row = this.#parts.state.assignmentOf(frameworkId, taskId)
    if (released || row === undefined || row.assignment.containerId !== containerId) return false
    return row.assignment.leaseLengthMs > 0 && row.lease === null && row.ending === null
  }

  #drop(task: LiveTask): void {
    const { endings, background, clock } = this.#parts
    const why = 'its node went out of reach before it was granted its lease'
    const status = masterStatus(task, 'dropped', 'agent_disconnected', why, clock.wallMs())
    background.run('task.ending_not_committed', (signal) => endings.commit(status, true, signal))
  }

  /** The cluster goes on without its tasks; where they still run they are stopped when their node comes back. */
  async #gone(verdict: Verdict, signal: AbortSignal): Promise<void> {
    const { agentId } = verdict
    const { state, seats, proposer, clock, log } = this.#parts
    if (seats.link(agentId) !== undefined || state.agents.get(agentId)?.condition !== 'agent_unreachable') return
    if (state.featureLevel < levelOfReturn) return this.#book.again(verdict, clock.monotonicMs(), againMs)
    await proposer.propose({ setAgentCondition: { agentId, condition: 'agent_gone' } }, signal)
    const tasks = this.#giveUp(agentId)
    log.warn({ agentId, silentMs: Math.round(verdict.silentMs), tasks }, 'agent.gone')
  }

  /** How many tasks that are not over. */
  #giveUp(agentId: string): number {
    const { liveTasks, endings, background, clock } = this.#parts
    const tasks = [...liveTasks.tasksOn(agentId)].filter((task) => !isOver(task))
    for (const task of tasks) {
      const why = 'its node was out of reach for longer than the cluster waits'
      const status = masterStatus(task, 'gone', 'agent_removed', why, clock.wallMs())
      background.run('task.ending_not_committed', (signal) => endings.commit(status, true, signal))
    }
    return tasks.length
  }
}

const isOver = ({ status: { state } }: LiveTask): boolean => state !== 'unspecified_state' && isTerminal(state)
