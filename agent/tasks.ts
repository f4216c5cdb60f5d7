import { constants } from 'node:os'
import { type Fault, isFault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import { encodeMessage, type Init } from '../proto/codec.ts'
import type {
  Forget,
  Kill,
  KillPolicy,
  Launch,
  LaunchAnswer,
  Reason,
  TaskGroup,
  TaskReport,
  TaskRow
} from '../proto/gen/messages.ts'
import { containerId, newContainerId } from '../proto/ids.ts'
import { aborted } from './aborted.ts'
import { assignmentOf } from './assignment.ts'
import { AttemptLine, isSucceeded } from './attempt-line.ts'
import { LaunchTurns } from './launch-turns.ts'
import type { LocalTasks } from './local-api/task-routes.ts'
import { Pod } from './pods/pod.ts'
import { isSandbox, rowsOf } from './pods/seat.ts'
import type { NextAttempt } from './restart.ts'
import { onlyTask } from './task-request.ts'
import { type LogKeeper, TaskRunner, type TaskRunnerConfig, type TaskRunnerParts } from './task-runner.ts'

export interface TasksConfig extends TaskRunnerConfig {
  /** Containers being prepared or started at once: more only make each other slower. */
  readonly launchesAtOnce: number
  /** More containers than this are refused. */
  readonly maxTasks: number
  /** Until it aborts this version is on trial and takes nothing new; what comes meanwhile is launched then. */
  readonly settled: AbortSignal
  /** Ended attempts of a task that still runs whose log and sandbox are kept. */
  readonly attemptsKept: number
}

export interface TasksParts extends TaskRunnerParts {
  /** Why this node takes no new task now; undefined where it does. */
  readonly refusal?: () => string | undefined
  /** Takes the logs of what is forgotten; absent: they go. */
  readonly keeper?: LogKeeper
}

/** Of a row that no attempt of ours came before. */
const assignedByMaster = {
  assignedAttempt: 0,
  assignedContainerId: '',
  previousContainerId: '',
  restarts: 0,
  quickEnds: 0,
  backoffMs: 0,
  beginAtBootMs: 0
} as const

/** Ends of attempts that wait for the master, of one task, beyond which the oldest are given up: later ones tell them too. */
/** A frame holds 4 MiB, and each report is something besides. */
const mostDefinitionBytes = 3 * 1024 * 1024
const untoldAttempts = 32

/** All tasks of this agent, by container id. Ended ones stay until the master says forget. */
export class Tasks implements LocalTasks {
  readonly #parts: TasksParts
  readonly #config: TasksConfig
  readonly #log: Log
  readonly #runners = new Map<string, TaskRunner>()
  readonly #lives = new Set<Promise<void>>()
  readonly #onBroken: (error: unknown) => void
  readonly #lines = new Map<string, AttemptLine>()
  readonly #pods = new Map<string, Pod>()
  /** Launches that are on their way to the disk, by each container that they make. */
  readonly #recording = new Map<string, Promise<void>>()
  readonly #turns: LaunchTurns
  readonly #leaving = new AbortController()

  /** `onBroken` hears of a life that ended with a broken invariant or a dead ledger: the agent must then stop. */
  constructor(parts: TasksParts, config: TasksConfig, onBroken: (error: unknown) => void) {
    this.#parts = parts
    this.#config = config
    this.#log = parts.log
    this.#onBroken = onBroken
    this.#turns = new LaunchTurns(config.launchesAtOnce)
  }

  list(): readonly TaskRunner[] {
    return [...this.#runners.values()]
  }

  /** That attempt of the task; without one the newest that has begun. */
  find(frameworkId: string, taskId: string, attempt?: number): TaskRunner | undefined {
    const all = this.list()
      .filter((r) => r.frameworkId === frameworkId && r.taskId === taskId)
      .sort((a, b) => b.attempt - a.attempt)
    if (attempt !== undefined) return all.find((r) => r.attempt === attempt)
    return all.find((r) => !r.waits) ?? all[0]
  }

  get running(): number {
    return this.list().filter((r) => !r.ended.aborted).length
  }

  /**
   * Repeats of the same attempt get the same answer. The row is on the disk before the answer. While the workloads are stopped
   * there is none: the master asks again when an agent registers anew.
   */
  async launch(launch: Launch): Promise<Init<LaunchAnswer> | undefined> {
    // Known in the same turn where there is no trial: its kill may be the next frame.
    if (!this.#config.settled.aborted) await aborted(this.#config.settled)
    if (this.#leaving.signal.aborted) return undefined
    const answer = answerTo(launch)
    try {
      // Of a pod each task has a launch: the others wait for the one that came first.
      const recording = this.#recording.get(launch.containerId)
      if (recording !== undefined) await recording
      if (this.#runners.has(launch.containerId)) return { ...answer, accepted: true }
      const rows = rowsOf(launch, {
        specDigest: launch.specDigest,
        atMs: Math.round(this.#parts.clock.wallMs()),
        bootId: this.#config.bootId,
        ...assignedByMaster
      })
      for (const row of rows) {
        containerId(row.containerId)
        onlyTask(row)
      }
      if (this.running + rows.length > this.#config.maxTasks) {
        const message = `this node runs ${this.running} tasks already, and its limit is ${this.#config.maxTasks}`
        return { ...answer, accepted: false, reason: 'launch_failed', message }
      }
      const unfit = this.#parts.refusal?.()
      if (unfit !== undefined) return { ...answer, accepted: false, reason: 'node_unhealthy', message: unfit }
      await this.#accept(rows)
      return { ...answer, accepted: true }
    } catch (e) {
      if (!isFault(e)) throw e
      return { ...answer, accepted: false, reason: reasonOf(e), message: e.message }
    }
  }

  /** All rows are in the ledger, or none is; then they live. */
  async #accept(rows: readonly TaskRow[]): Promise<void> {
    const [first] = rows
    const runners = rows.map((row) => this.#adopt(row))
    const record = rows.length === 1 && first !== undefined ? { task: first } : { pod: { rows } }
    const recorded = this.#parts.ledger.append(record, 'disk')
    for (const { containerId } of rows) this.#recording.set(containerId, recorded)
    try {
      await recorded
    } catch (cause) {
      for (const runner of runners) this.#drop(runner)
      throw cause
    } finally {
      for (const { containerId } of rows) this.#recording.delete(containerId)
    }
    for (const runner of runners) this.#live(this.#launchInTurn(runner))
  }

  async kill(kill: Kill): Promise<void> {
    // Its launch may be waiting for the end of the trial, and comes first then.
    if (this.#targetsOf(kill).length === 0 && !this.#config.settled.aborted) await aborted(this.#config.settled)
    for (const runner of this.#targetsOf(kill)) {
      await runner.kill(knownSignal(kill.policy))
      this.#podOf(runner.row)?.look()
    }
  }

  #targetsOf({ frameworkId, taskId, attempt }: Kill): readonly TaskRunner[] {
    return this.list().filter(
      (r) => r.frameworkId === frameworkId && r.taskId === taskId && (attempt === 0 || attempt === assignmentOf(r.row).attempt)
    )
  }

  /** Drops every attempt of the task with all they left but their logs, once they are removed; a task that has not ended is left alone. */
  async forget(forget: Forget): Promise<void> {
    for (const line of [...this.#lines.values()]) {
      const { newest } = line
      if (newest?.frameworkId !== forget.frameworkId || newest.taskId !== forget.taskId || !newest.ended.aborted) continue
      if (newest.latest()?.willRestart) continue
      for (const runner of [...line.attempts]) await this.#forget(runner, this.#parts.keeper)
      await this.#forgetSandbox(newest.row)
    }
  }

  /** Of a pod none of whose tasks is known any more. */
  async #forgetSandbox(row: TaskRow): Promise<void> {
    const pod = this.#podOf(row)
    if (pod === undefined || !pod.isForgotten) return
    const sandbox = this.#runners.get(row.pod?.sandboxId ?? '')
    if (sandbox !== undefined) await this.#forget(sandbox)
    this.#pods.delete(row.pod?.sandboxId ?? '')
  }

  async stopAll(signal: AbortSignal): Promise<void> {
    this.#leaving.abort()
    const live = this.list().filter((r) => !r.removed.aborted && !r.waits)
    // A sandbox ends after the last of its pod, by itself.
    const asked = live.filter((r) => !isSandbox(r.row)).map((r) => r.kill({ signal: '', graceMs: 3_000 }, 'node-stop'))
    await Promise.all(asked)
    for (const pod of this.#pods.values()) pod.look()
    await Promise.race([Promise.all(live.map((r) => aborted(r.removed))), aborted(signal)])
    signal.throwIfAborted()
  }

  /** What this agent knows, for the master at registration: one report of each assignment. */
  /** `definitions`: with the group of each, as far as a message holds them. */
  reports({ definitions = false } = {}): readonly Init<TaskReport>[] {
    const told = definitionsUpTo(definitions ? mostDefinitionBytes : 0)
    return [...this.#lines.values()].flatMap((line) => {
      const { newest, assigned } = line
      if (newest === undefined || isSandbox(newest.row)) return []
      const latest =
        [...line.attempts]
          .reverse()
          .find((r) => r.latest() !== null)
          ?.latest() ?? null
      const { group } = newest.row
      const task = group?.tasks[0]
      return [
        {
          frameworkId: newest.frameworkId,
          taskId: newest.taskId,
          ...assigned,
          role: group?.role ?? '*',
          name: task?.name ?? '',
          state: latest?.willRestart ? 'starting' : (latest?.state ?? 'staging'),
          resources: task?.resources ?? [],
          specDigest: newest.row.specDigest,
          latest,
          group: told(group)
        }
      ]
    })
  }

  /** Puts a task of the ledger under a runner without running it; recovery decides what happens next. */
  recovered(row: TaskRow, live: (runner: TaskRunner) => Promise<void>): void {
    const runner = this.#adopt(row)
    this.#live(live(runner).then(() => this.#forgetSandbox(row)))
    this.#podOf(row)?.look()
  }

  launchRecovered(runner: TaskRunner): Promise<void> {
    return this.#launchInTurn(runner)
  }

  /** Resolves when no life is being lived any more: after `stopAll`, for a clean end. */
  async idle(): Promise<void> {
    while (this.#lives.size > 0) await Promise.all(this.#lives)
  }

  #adopt(row: TaskRow): TaskRunner {
    const { ledger } = this.#parts
    const { containerId: assigned } = assignmentOf(row)
    const line = this.#lines.get(assigned) ?? new AttemptLine(row)
    this.#lines.set(assigned, line)
    const latest = ledger.view.tasks.get(row.containerId)?.latest ?? null
    const pod = this.#podOf(row)
    const parts = pod === undefined ? this.#parts : { ...this.#parts, outbox: heardBy(pod, this.#parts.outbox) }
    const runner: TaskRunner = new TaskRunner(row, latest, parts, this.#config, {
      turn: async (signal) => pod?.turn(row.containerId, signal),
      earlier: () => line.endsBefore(runner),
      previous: () => line.before(runner),
      isSucceeded: () => line.after(runner) !== undefined || isSucceeded(ledger.view, row.containerId),
      succeed: (next) => this.#succeed(line, runner, next)
    })
    this.#runners.set(row.containerId, runner)
    line.add(runner)
    pod?.add(runner)
    return runner
  }

  #podOf({ pod: seat }: TaskRow): Pod | undefined {
    if (seat === null) return undefined
    const pod = this.#pods.get(seat.sandboxId) ?? new Pod(this.#parts, seat)
    this.#pods.set(seat.sandboxId, pod)
    return pod
  }

  /** The next attempt has its runner in this turn, so that a kill finds it; its row may follow the end of the one before. */
  #succeed(line: AttemptLine, runner: TaskRunner, next: NextAttempt): void {
    const { ledger, clock, bootClock } = this.#parts
    if (line.after(runner) !== undefined || isSucceeded(ledger.view, runner.containerId)) return
    const row: TaskRow = {
      ...runner.row,
      ...next,
      containerId: newContainerId(),
      previousContainerId: runner.containerId,
      assignedAttempt: line.assigned.attempt,
      assignedContainerId: line.assigned.containerId,
      atMs: Math.round(clock.wallMs()),
      bootId: this.#config.bootId,
      beginAtBootMs: bootClock.nowMs() + next.backoffMs
    }
    const successor = this.#adopt(row)
    const recorded = ledger.append({ restart: { ...row, group: null } }, 'disk')
    this.#live(
      recorded.then(async () => {
        await this.#prune(line)
        // Not without need: whoever waits for an agent's stop is remembered until it comes, attempt by attempt.
        if (!this.#config.settled.aborted) await Promise.race([aborted(this.#config.settled), aborted(this.#leaving.signal)])
        if (!this.#leaving.signal.aborted) await this.#launchInTurn(successor)
      })
    )
  }

  /** Of attempts long gone only the end is kept, and that only until the master has heard of it. */
  async #prune(line: AttemptLine): Promise<void> {
    const old = line.attempts.slice(0, -1 - this.#config.attemptsKept).filter((r) => r.removed.aborted)
    for (const [i, runner] of old.entries()) {
      const untold = this.#parts.ledger.view.tasks.get(runner.containerId)?.unacknowledged.length ?? 0
      if (untold === 0 || i < old.length - untoldAttempts) await this.#forget(runner)
      else await runner.forget('sandbox')
    }
  }

  async #forget(runner: TaskRunner, keeper?: LogKeeper): Promise<void> {
    await aborted(runner.removed)
    if (this.#drop(runner)) await runner.forget('everything', keeper)
  }

  #drop(runner: TaskRunner): boolean {
    const { containerId: assigned } = assignmentOf(runner.row)
    const line = this.#lines.get(assigned)
    line?.drop(runner)
    if (line?.attempts.length === 0) this.#lines.delete(assigned)
    return this.#runners.delete(runner.containerId)
  }

  #launchInTurn(runner: TaskRunner): Promise<void> {
    return runner.launch({ take: () => this.#turns.take(), left: this.#leaving.signal })
  }

  #live(life: Promise<void>): void {
    const lived = life.catch((error: unknown) => {
      this.#log.error({ error }, 'task.life_broken')
      this.#onBroken(error)
    })
    this.#lives.add(lived)
    void lived.finally(() => this.#lives.delete(lived))
  }
}

/** Of the task that it is sent for: in a pod each has one. */
function answerTo({ group, containerId, attempt, pod }: Launch) {
  const at = pod?.members.findIndex((member) => member.containerId === containerId) ?? 0
  return { frameworkId: group?.frameworkId ?? '', taskId: group?.tasks[Math.max(0, at)]?.taskId ?? '', attempt }
}

/** The pod looks at each status once it is in the ledger. */
const heardBy = (pod: Pod, outbox: TasksParts['outbox']): TasksParts['outbox'] => ({
  async report(status) {
    const told = await outbox.report(status)
    pod.look()
    return told
  }
})

/** A signal that this kernel does not know must not stop the kill: it becomes SIGTERM. */
/** What is over the limit with those before it is left out. */
function definitionsUpTo(mostBytes: number): (group: TaskGroup | null) => TaskGroup | null {
  let left = mostBytes
  return (group) => {
    if (left === 0 || group === null) return null
    const bytes = encodeMessage('TaskGroup', group).length
    if (bytes > left) return null
    left -= bytes
    return group
  }
}

const knownSignal = (policy: KillPolicy | null): KillPolicy | null =>
  policy !== null && policy.signal !== '' && !Object.hasOwn(constants.signals, policy.signal) ? { ...policy, signal: '' } : policy

function reasonOf({ code, detail }: Fault): Reason {
  if (detail['reason'] === 'policy_refused') return 'policy_refused'
  return code === 'exhausted' ? 'disk_full' : 'task_invalid'
}
