import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { within } from '../../../base/clock.ts'
import { openStream } from '../../support/stream-client.ts'
import type { Expected, ExpectedTask } from '../invariants/expected.ts'
import { isEnd } from '../invariants/status-order.ts'
import { frameworkId } from '../master.ts'
import type { RunResult } from '../resume.ts'
import type { World } from '../world.ts'
import type { Anchor, Plan, PlannedTask } from './plan.ts'
import { expectedOf, groupOf } from './programs.ts'

/** After its last start the agent has this long until what is wanted is what runs. */
const settleMs = 10_000
/** An anchor that has not come by then will not come: the fault strikes all the same. */
const anchorMs = 1_500
/** What an exec runs: known by this word among the processes. */
const execWord = '77.7'

/** One churn of tasks with its faults in a world of its own. */
export class AgentKillRun {
  readonly #world: World
  readonly #plan: Plan
  readonly #signal: AbortSignal
  readonly #sent = new Set<string>()
  #faultsLeft: number
  #execs = 0

  constructor(world: World, plan: Plan, signal: AbortSignal) {
    this.#world = world
    this.#plan = plan
    this.#signal = signal
    this.#faultsLeft = plan.faults.length
  }

  /** While there are any, a lost acknowledgement is made good by the next registration. */
  get faultsToCome(): boolean {
    return this.#faultsLeft > 0
  }

  async run(): Promise<RunResult> {
    const { faults, tasks } = this.#plan
    await this.#world.startAndRegister(this.#signal)
    await Promise.all([this.#faults(), ...tasks.map((task) => this.#live(task))])
    const broken = await this.#check()
    const { statuses } = this.#world.master
    return {
      violations: [...new Set([...this.#world.problems, ...broken])],
      counts: {
        tasks: tasks.length,
        kills: faults.filter((f) => f.signal === 'SIGKILL').length,
        stops: faults.filter((f) => f.signal === 'SIGTERM').length,
        statuses: statuses.length,
        repeats: statuses.length - new Set(statuses.map(({ status }) => status.number)).size,
        execs: this.#execs
      }
    }
  }

  async #live(task: PlannedTask): Promise<void> {
    const { master, places } = this.#world
    await this.#wait(task.launchAtMs)
    master.launch(task.containerId, groupOf(task, places.marksDir))
    this.#sent.add(`launch ${task.containerId}`)
    const more: Promise<void>[] = []
    if (task.killAfterMs !== undefined) more.push(this.#kill(task, task.killAfterMs))
    if (task.execAfterMs !== undefined) more.push(this.#exec(task, task.execAfterMs))
    await Promise.all(more)
  }

  async #kill(task: PlannedTask, afterMs: number): Promise<void> {
    await this.#wait(afterMs)
    this.#world.master.kill(task.containerId, { signal: '', graceMs: task.graceMs })
    this.#sent.add(`kill ${task.containerId}`)
  }

  /** Whoever runs it is cut off with the agent, or goes away in the end: either way it must end. */
  async #exec(task: PlannedTask, afterMs: number): Promise<void> {
    await this.#wait(afterMs)
    try {
      const path = `/v1/tasks/${frameworkId}/${task.taskId}/exec`
      const stream = await openStream(this.#world.socketPath, path, { arguments: ['sleep', execWord] })
      stream.end.catch(() => undefined)
      this.#execs += 1
      await this.#wait(100)
      stream.cut()
    } catch {
      // The agent was away: there is nothing to look at.
    }
  }

  async #faults(): Promise<void> {
    const { master } = this.#world
    let registrations = master.registrations
    for (const fault of this.#plan.faults) {
      await this.#anchor(fault.anchor)
      await this.#wait(fault.afterMs)
      await this.#world.end(fault.signal)
      this.#faultsLeft -= 1
      await this.#wait(fault.downMs)
      registrations = master.registrations
      this.#world.start()
    }
    await this.#world.registered(registrations + 1, this.#signal)
  }

  /** A restart is anchored to the start of the agent, which has just been. */
  async #anchor(anchor: Anchor): Promise<void> {
    if (!('task' in anchor)) return
    const { master, places } = this.#world
    const containerId = this.#plan.tasks[anchor.task]?.containerId ?? ''
    const holds = (): boolean => {
      switch (anchor.kind) {
        case 'launch-sent':
          return this.#sent.has(`launch ${containerId}`)
        case 'kill-sent':
          return this.#sent.has(`kill ${containerId}`)
        case 'accepted':
          return master.answerTo(containerId) !== undefined
        case 'running':
          return master.has(containerId, 'running')
        default:
          return hasEnded(join(places.marksDir, containerId))
      }
    }
    const until = performance.now() + anchorMs
    while (!holds() && performance.now() < until) await this.#wait(1)
  }

  async #check(): Promise<readonly string[]> {
    const { tasks } = this.#plan
    const { master } = this.#world
    const lasts = (task: PlannedTask): boolean => task.kind === 'lasting' && task.killAfterMs === undefined
    await this.#ends(tasks.filter((task) => !lasts(task)))
    const settled = await this.#settle((task) => (lasts(task) ? 'running' : 'ended'))
    if (settled.length > 0) return settled
    for (const task of tasks.filter(lasts)) master.kill(task.containerId, { signal: '', graceMs: 0 })
    await this.#ends(tasks)
    for (const task of tasks) master.forget(task.containerId)
    const forgotten = await this.#settle(() => 'forgotten')
    if (forgotten.length > 0) return forgotten
    await this.#world.end('SIGTERM')
    return this.#settle(() => 'forgotten', false)
  }

  /** Waits for the ends, so that the costly looks at the kernel find something to see; the looks judge, not this. */
  async #ends(tasks: readonly PlannedTask[]): Promise<void> {
    const { master } = this.#world
    const ended = ({ containerId }: PlannedTask): boolean =>
      master.statuses.some(({ status }) => status.containerId === containerId && isEnd(status.state))
    const patience = within(settleMs, this.#signal)
    await master
      .until(() => tasks.every(ended), patience)
      .catch((e: unknown) => {
        if (this.#signal.aborted) throw e
      })
  }

  async #settle(wanted: (task: PlannedTask) => ExpectedTask['wanted'], agentRuns = true): Promise<readonly string[]> {
    const { statuses } = this.#world.master
    const tasks = this.#plan.tasks.map((task) => expectedOf(task, wanted(task)))
    const expected = (): Expected => ({ tasks, statuses, agentRuns })
    return this.#world.settle(expected, settleMs, this.#signal)
  }

  async #wait(ms: number): Promise<void> {
    if (ms > 0) await pause(ms, undefined, { signal: this.#signal })
  }
}

const hasEnded = (markPath: string): boolean => existsSync(markPath) && /^end /m.test(readFileSync(markPath, 'utf8'))
