import { constants } from 'node:os'
import { isFault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import type { Init } from '../proto/codec.ts'
import type { Forget, Kill, KillPolicy, Launch, LaunchAnswer, TaskReport, TaskRow } from '../proto/gen/messages.ts'
import { containerId } from '../proto/ids.ts'
import type { LocalTasks } from './local-api/task-routes.ts'
import { onlyTask } from './task-request.ts'
import { TaskRunner, type TaskRunnerConfig, type TaskRunnerParts } from './task-runner.ts'

export interface TasksConfig extends TaskRunnerConfig {
  /** Containers being prepared or started at once: more only make each other slower. */
  readonly launchesAtOnce: number
  /** More containers than this are refused. */
  readonly maxTasks: number
  /** Until it aborts this version is on trial and takes nothing new; what comes meanwhile is launched then. */
  readonly settled: AbortSignal
}

export interface TasksParts extends TaskRunnerParts {
  /** Why this node takes no new task now; undefined where it does. */
  readonly refusal?: () => string | undefined
}

/** All tasks of this agent, by container id. Ended ones stay until the master says forget. */
export class Tasks implements LocalTasks {
  readonly #parts: TasksParts
  readonly #config: TasksConfig
  readonly #log: Log
  readonly #runners = new Map<string, TaskRunner>()
  readonly #lives = new Set<Promise<void>>()
  readonly #onBroken: (error: unknown) => void
  readonly #waiting: (() => void)[] = []
  #launching = 0
  #stopping = false

  /** `onBroken` hears of a life that ended with a broken invariant or a dead ledger: the agent must then stop. */
  constructor(parts: TasksParts, config: TasksConfig, onBroken: (error: unknown) => void) {
    this.#parts = parts
    this.#config = config
    this.#log = parts.log
    this.#onBroken = onBroken
  }

  list(): readonly TaskRunner[] {
    return [...this.#runners.values()]
  }

  /** The newest attempt of the task. */
  find(frameworkId: string, taskId: string): TaskRunner | undefined {
    return this.list()
      .filter((r) => r.frameworkId === frameworkId && r.taskId === taskId)
      .sort((a, b) => b.row.attempt - a.row.attempt)[0]
  }

  get running(): number {
    return this.list().filter((r) => !r.ended.aborted).length
  }

  /**
   * Repeats of the same attempt get the same answer. The row is on the disk before the answer. While the workloads are stopped
   * there is none: the master asks again when an agent registers anew.
   */
  async launch(launch: Launch): Promise<Init<LaunchAnswer> | undefined> {
    await aborted(this.#config.settled)
    if (this.#stopping) return undefined
    const row: Init<TaskRow> = {
      group: launch.group,
      attempt: launch.attempt,
      containerId: launch.containerId,
      specDigest: launch.specDigest,
      atMs: Math.round(this.#parts.clock.wallMs()),
      bootId: this.#config.bootId
    }
    const answer = {
      frameworkId: launch.group?.frameworkId ?? '',
      taskId: launch.group?.tasks[0]?.taskId ?? '',
      attempt: launch.attempt
    }
    const known = this.#runners.get(launch.containerId)
    if (known !== undefined) return { ...answer, accepted: true }
    try {
      containerId(launch.containerId)
      onlyTask(row as TaskRow)
      if (this.running >= this.#config.maxTasks) {
        return {
          ...answer,
          accepted: false,
          reason: 'launch_failed',
          message: `this node runs ${this.running} tasks already, its limit`
        }
      }
      const unfit = this.#parts.refusal?.()
      if (unfit !== undefined) return { ...answer, accepted: false, reason: 'node_unhealthy', message: unfit }
      const runner = this.#adopt(row as TaskRow)
      await this.#parts.ledger.append({ task: row }, 'disk').catch((cause: unknown) => {
        this.#runners.delete(launch.containerId)
        throw cause
      })
      this.#live(this.#launchInTurn(runner))
      return { ...answer, accepted: true }
    } catch (e) {
      if (!isFault(e)) throw e
      return { ...answer, accepted: false, reason: e.code === 'exhausted' ? 'disk_full' : 'task_invalid', message: e.message }
    }
  }

  async kill(kill: Kill): Promise<void> {
    const targets = this.list().filter(
      (r) =>
        r.frameworkId === kill.frameworkId && r.taskId === kill.taskId && (kill.attempt === 0 || kill.attempt === r.row.attempt)
    )
    for (const runner of targets) await runner.kill(knownSignal(kill.policy))
  }

  /** Drops ended attempts of the task with all they left, once they are removed; one that still runs is left alone. */
  async forget(forget: Forget): Promise<void> {
    for (const runner of this.list()) {
      if (runner.frameworkId !== forget.frameworkId || runner.taskId !== forget.taskId || !runner.ended.aborted) continue
      await aborted(runner.removed)
      if (!this.#runners.delete(runner.containerId)) continue
      await runner.forget()
    }
  }

  async stopAll(signal: AbortSignal): Promise<void> {
    this.#stopping = true
    const live = this.list().filter((r) => !r.removed.aborted)
    await Promise.all(live.map((r) => r.kill({ signal: '', graceMs: 3_000 })))
    await Promise.race([Promise.all(live.map((r) => aborted(r.removed))), aborted(signal)])
    signal.throwIfAborted()
  }

  /** What this agent knows, for the master at registration. */
  reports(): readonly Init<TaskReport>[] {
    return this.list().map((r) => ({
      frameworkId: r.frameworkId,
      taskId: r.taskId,
      attempt: r.row.attempt,
      containerId: r.containerId,
      role: r.row.group?.role ?? '*',
      name: r.row.group?.tasks[0]?.name ?? '',
      state: r.latest()?.state ?? 'staging',
      resources: r.row.group?.tasks[0]?.resources ?? [],
      specDigest: r.row.specDigest,
      latest: r.latest()
    }))
  }

  /** Puts a task of the ledger under a runner without running it; recovery decides what happens next. */
  recovered(row: TaskRow, live: (runner: TaskRunner) => Promise<void>): void {
    const runner = this.#adopt(row)
    this.#live(live(runner))
  }

  launchRecovered(runner: TaskRunner): Promise<void> {
    return this.#launchInTurn(runner)
  }

  /** Resolves when no life is being lived any more: after `stopAll`, for a clean end. */
  async idle(): Promise<void> {
    while (this.#lives.size > 0) await Promise.all(this.#lives)
  }

  #adopt(row: TaskRow): TaskRunner {
    const latest = this.#parts.ledger.view.tasks.get(row.containerId)?.latest ?? null
    const runner = new TaskRunner(row, latest, this.#parts, this.#config)
    this.#runners.set(row.containerId, runner)
    return runner
  }

  async #launchInTurn(runner: TaskRunner): Promise<void> {
    if (this.#launching >= this.#config.launchesAtOnce) await new Promise<void>((go) => this.#waiting.push(go))
    this.#launching += 1
    let released = false
    const release = (): void => {
      if (released) return
      released = true
      this.#launching -= 1
      this.#waiting.shift()?.()
    }
    runner.launched.addEventListener('abort', release, { once: true })
    await runner.launch().finally(release)
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

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })

/** A signal that this kernel does not know must not stop the kill: it becomes SIGTERM. */
const knownSignal = (policy: KillPolicy | null): KillPolicy | null =>
  policy !== null && policy.signal !== '' && !Object.hasOwn(constants.signals, policy.signal) ? { ...policy, signal: '' } : policy
