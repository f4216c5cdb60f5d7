import { rm } from 'node:fs/promises'
import { type Fault, isFault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import type { IsolatorRequest } from '../isolators/isolator.ts'
import type { ContainerExit, RunningContainer } from '../isolators/runtime/runtime.ts'
import { type ContainerState, moveContainer } from '../proto/container-state.ts'
import type { KillPolicy, TaskDefinition, TaskRow, TaskStatus } from '../proto/gen/messages.ts'
import { isTerminal } from '../proto/task-state.ts'
import { alone, atOnce, type LaunchTurn, type Neighbours, untilBegin } from './attempt-begin.ts'
import { KilledDuringLaunch, type LaunchParts, launchAttempt, openAttempt } from './attempt-launch.ts'
import { AttemptObjects } from './attempt-objects.ts'
import { fetchAll } from './attempt-pull.ts'
import { AttemptRemoval } from './attempt-removal.ts'
import { AttemptReport } from './attempt-report.ts'
import { AttemptStop, graceOf } from './attempt-stop.ts'
import { AttemptWatch, type AttemptWatchParts } from './attempt-watch.ts'
import { type Decided, type Ending, endingOf, endingOfFault, endingOfUnlaunched, launchFailure, statusFacts } from './ending.ts'
import { type BootClock, msPerTick } from './host/boot-time.ts'
import { AttemptLease } from './lease/attempt-lease.ts'
import type { Leases } from './lease/leases.ts'
import type { KeptLogs } from './logs/kept-logs.ts'
import type { Ledger } from './ports.ts'
import { recoverAll } from './prepare.ts'
import type { FlightRecorder } from './recorder/recorder.ts'
import { isFollowed, nextAttempt, restarts } from './restart.ts'
import { bareRequest, bundleOf, logOf, type RequestConfig, sandboxOf } from './task-request.ts'

export interface TaskRunnerParts extends LaunchParts, AttemptWatchParts {
  readonly ledger: Ledger
  readonly outbox: { report(status: Partial<TaskStatus>): Promise<TaskStatus> }
  readonly bootClock: BootClock
  readonly log: Log
  readonly recorder: Pick<FlightRecorder, 'causesOf' | 'note'>
  readonly leases: Leases
}

/** agent/logs/kept-logs.ts */
export type LogKeeper = Pick<KeptLogs, 'keep'>

export interface TaskRunnerConfig extends RequestConfig {
  readonly agentId: string
  readonly bootId: string
}

/**
 * One attempt of one task from its row in the ledger to its removal: the only place that moves the two state machines.
 *
 *   launch ─ prepare ─ runtime.launch ─ follow ─ end ─ remove          recover: follow | endUnseen
 *                                                 └─ the next attempt, where the restart policy says so
 */
export class TaskRunner {
  readonly #row: TaskRow
  readonly #parts: TaskRunnerParts
  readonly #config: TaskRunnerConfig
  readonly #log: Log
  readonly #report: AttemptReport
  readonly #objects: AttemptObjects
  readonly #stop: AttemptStop
  readonly #lease: AttemptLease
  readonly #watch: AttemptWatch
  readonly #removal: AttemptRemoval
  readonly #neighbours: Neighbours
  #container: ContainerState = 'preparing'
  #waits = false
  #notice = ''
  #decided: Decided
  /** Somebody asked for the end of the task: whatever ends this attempt, none follows. */
  #killAsked = false
  readonly #launchStop = new AbortController()
  readonly #launched = new AbortController()
  readonly #ended = new AbortController()
  readonly #removed = new AbortController()
  /** Aborts when the launch is over: the container runs, or never will. */
  readonly launched = this.#launched.signal
  /** Aborts when the container has ended, its last status is on the disk and its log is complete. */
  readonly ended = this.#ended.signal
  /** Aborts when nothing of the container is left but its sandbox and log. */
  readonly removed = this.#removed.signal

  constructor(
    row: TaskRow,
    latest: TaskStatus | null,
    parts: TaskRunnerParts,
    config: TaskRunnerConfig,
    neighbours: Neighbours = alone
  ) {
    this.#row = row
    this.#parts = parts
    this.#config = config
    this.#log = parts.log.child({ taskId: this.taskId, frameworkId: this.frameworkId, containerId: row.containerId })
    this.#neighbours = neighbours
    const { outbox, clock } = parts
    this.#report = new AttemptReport(row, latest, { outbox, clock, earlier: () => neighbours.earlier() }, config.agentId)
    this.#objects = new AttemptObjects(row.containerId, parts.ledger, config.bootId)
    this.#decided = this.#objects.decided
    this.#stop = new AttemptStop(row.containerId, { ...parts, log: this.#log, objects: this.#objects })
    this.#lease = new AttemptLease(row, parts.leases)
    const removed = { ...parts, objects: this.#objects, log: this.#log }
    this.#removal = new AttemptRemoval(removed, () => this.#bare())
    const over = (why: NonNullable<Decided>, policy: KillPolicy | null): void => this.#over(why, policy)
    this.#watch = new AttemptWatch({ ...parts, log: this.#log }, this.#bare(), row, {
      report: this.#report,
      lease: this.#lease,
      logPath: this.logPath,
      probes: () => this.#objects.probesOf(this.#task),
      ranMs: () => this.#ranMs(),
      over
    })
  }

  /** With the limits that it has by now. */
  get row(): TaskRow {
    const kept = this.#parts.ledger.view.tasks.get(this.#row.containerId)?.row
    return kept?.group ? kept : this.#row
  }
  get taskId(): string {
    return this.#task?.taskId ?? ''
  }
  get frameworkId(): string {
    return this.row.group?.frameworkId ?? ''
  }
  get containerId(): string {
    return this.#row.containerId
  }
  get attempt(): number {
    return this.#row.attempt
  }
  /** Of a removed one: nothing is left of its container. */
  get clean(): boolean {
    return this.#removal.clean
  }
  /** Its back-off runs, or something else it has to wait for before its launch. */
  get waits(): boolean {
    return this.#waits
  }
  /** Of a container that is not yet removed; it keeps the image's layers from being collected. */
  get imageDigest(): string | undefined {
    return this.#objects.imageDigest
  }
  get state(): ContainerState {
    return this.#container
  }
  get terminal(): boolean {
    return this.#task?.process?.terminal ?? false
  }
  get openStdin(): boolean {
    return this.#task?.process?.openStdin ?? false
  }
  get logPath(): string {
    return logOf(this.#config, this.containerId)
  }
  get sandboxDir(): string {
    return sandboxOf(this.#config, this.containerId)
  }
  get bundleDir(): string {
    return bundleOf(this.#config, this.containerId)
  }
  readonly latest = (): TaskStatus | null => this.#report.latest

  /** Runs the task from the start to its removal. Rejects only with a broken invariant or when the ledger is dead. */
  async launch(turn: LaunchTurn = atOnce): Promise<void> {
    let stage = 'preparing the container'
    const onPrepared = (notices: readonly string[]): void => {
      this.#notice = notices.join('; ')
      stage = 'starting the container'
      this.#container = moveContainer(this.#container, 'creating')
    }
    let release: (() => void) | undefined
    let running: RunningContainer
    try {
      if (!(await this.#begin(turn.left))) return
      const artifacts = await fetchAll({ ...this.#parts, report: this.#report }, this.#config, this.row, this.#launchStop.signal)
      release = await turn.take()
      this.#launched.signal.addEventListener('abort', release, { once: true })
      const of = { row: this.row, objects: this.#objects, log: this.#log, onPrepared, artifacts }
      const request = await openAttempt(this.#parts, this.#config, of, this.#launchStop.signal)
      running = await launchAttempt(this.#parts, this.#config, { ...of, request }, this.#launchStop.signal)
    } catch (e) {
      return await this.#neverRan(launchFailure(e, stage))
    } finally {
      release?.()
    }
    // From here on a ledger that was closed says nothing against the container: the next agent takes it over.
    await this.follow(running)
  }

  /** Takes over a container that outlived its agent. */
  async takeOver(running: RunningContainer): Promise<void> {
    await recoverAll(this.#parts.isolators, this.#bare(), this.#log)
    await this.follow(running)
  }

  /** Watches a running container to its end. */
  async follow(running: RunningContainer): Promise<void> {
    if (this.#container === 'preparing') this.#container = moveContainer(this.#container, 'creating')
    this.#container = moveContainer(this.#container, 'running')
    this.#launched.abort()
    this.#log.info({ pid: running.pid, monitorPid: running.monitorPid }, 'task.running')
    const facts = { pid: String(running.pid), startTicks: String(running.startTicks), monitorPid: String(running.monitorPid) }
    const noted = this.#objects.monitorRuns(facts)
    if (this.#report.state !== 'running' && this.#report.state !== 'killing')
      await this.#report.tell('running', {
        message: this.#notice,
        ...(this.#objects.probesOf(this.#task).length > 0 ? { ready: false } : {})
      })
    await noted
    if (this.#killAsked || this.#decided !== undefined) this.#stopBy(this.#policyOfEnd())
    const exit = await this.#watch.untilExit()
    await this.#end(endingOf(exit, this.#lease.decided(this.#decided)))
  }

  /** For a task that ended before the agent's restart; `unclean` where something of its container is left. */
  async settle(unclean = false): Promise<void> {
    this.#container = moveContainer(moveContainer(this.#container, 'creating'), 'exited')
    this.#launched.abort()
    this.#ended.abort()
    const latest = this.#report.latest
    if (latest?.willRestart) this.#succeed({ ...latest, state: this.#report.state })
    if (unclean) return this.#remove()
    this.#container = moveContainer(moveContainer(this.#container, 'removing'), 'removed')
    this.#removed.abort()
  }

  /** For a container that ended, or vanished, while no agent watched. */
  async endUnseen(exit: ContainerExit | Ending): Promise<void> {
    this.#container = moveContainer(moveContainer(this.#container, 'creating'), 'lost')
    await this.#watch.settleLog()
    const decided = this.#lease.decided(this.#decided)
    if (!('state' in exit)) return this.#end(endingOf(exit, decided))
    const isOurs = decided !== undefined && decided.kind !== 'kill' && decided.kind !== 'limit'
    await this.#end(isOurs ? endingOf({ kind: 'lost', why: exit.message }, decided) : exit)
  }

  /** A kill that was recorded before the agent's restart. */
  decideKill(): void {
    this.#killAsked = true
    this.#decided ??= { kind: 'kill' }
  }

  /**
   * Resolves once the wish is recorded: in the kernel, for what it ends dies with the boot, and the master repeats it until the
   * end is told. A second kill can only shorten the grace. `node-stop` is no end of a task that is restarted: it is not recorded.
   */
  async kill(policy: KillPolicy | null, why: 'asked' | 'node-stop' = 'asked'): Promise<void> {
    if (isTerminal(this.#report.state)) return
    const comesBack = why === 'node-stop' && restarts(this.#task?.restart ?? null)
    // In this turn, before the attempt can end and another follow it.
    this.#decided ??= { kind: comesBack ? 'node-stop' : 'kill' }
    if (comesBack) await this.#noteDecided()
    else {
      this.#killAsked = true
      await this.#parts.ledger.append({ kill: { containerId: this.containerId, policy } }, 'kernel')
    }
    this.#log.info({ graceMs: graceOf(policy), why }, 'task.kill_requested')
    if (this.#container === 'preparing' || this.#container === 'creating') this.#launchStop.abort(new KilledDuringLaunch())
    else this.#stopBy(policy)
  }

  /** Its pod is over, and it ends by its own policy. Not recorded where it does not run: the next agent comes to the same end. */
  endWithPod(message: string): void {
    const isUnderWay = this.#container === 'preparing' || this.#container === 'creating'
    if (!isUnderWay && !this.#runs) return
    this.#over({ kind: 'pod', message }, this.#task?.killPolicy ?? null)
    if (isUnderWay) this.#launchStop.abort(new KilledDuringLaunch())
  }

  /** Removes what outlives the container, but for a log that is to outlive its task. Only for a removed one. */
  async forget(what: 'sandbox' | 'everything' = 'everything', keeper?: LogKeeper): Promise<void> {
    const { containerId, frameworkId, taskId, attempt } = this
    await this.#removal.giveUp()
    const mayKeep = keeper !== undefined && this.#task?.logBudget?.endsWithTask !== true
    const isKept = mayKeep && (await keeper.keep(this.sandboxDir, { containerId, frameworkId, taskId, attempt }))
    if (!isKept) await rm(this.sandboxDir, { recursive: true, force: true })
    if (what === 'everything') await this.#parts.ledger.append({ forget: { containerId: this.containerId } }, 'disk')
  }

  #causesOf(ending: Ending): TaskStatus['causes'] {
    const { containerId, taskId, attempt, sandboxDir, logPath } = this
    const memoryLimitBytes = this.#bare().limits.memoryBytes
    const own = { containerId, taskId, attempt, pid: this.#objects.pid, sandboxDir, logPath, memoryLimitBytes }
    return this.#parts.recorder.causesOf({ ...own, ending }).map((cause) => ({ ...cause, evidence: [...cause.evidence] }))
  }

  /** Something of ours says that it has to end. A limit that was passed tells more than what was decided before. */
  #over(why: NonNullable<Decided>, policy: KillPolicy | null): void {
    if (why.kind === 'limit') this.#decided = why
    else this.#decided ??= why
    void this.#noteDecided().then(() => {
      if (this.#runs) this.#stopBy(policy)
    })
  }

  /** Resolves once the next agent would know too; also where that cannot be had. */
  async #noteDecided(): Promise<void> {
    if (this.#decided === undefined || !this.#runs) return
    await this.#objects.decide(this.#decided).catch((error: unknown) => this.#log.error({ error }, 'task.decision_not_kept'))
  }

  /** How an end that was decided on before the container was taken over goes on. */
  #policyOfEnd(): KillPolicy | null {
    if (this.#decided?.kind === 'limit') return { signal: '', graceMs: 0 }
    if (this.#decided !== undefined && 'message' in this.#decided) return this.#task?.killPolicy ?? null
    return this.#parts.ledger.view.tasks.get(this.containerId)?.kill?.policy ?? null
  }

  get #runs(): boolean {
    return this.#container === 'running' || this.#container === 'stopping'
  }

  #stopBy(policy: KillPolicy | null): void {
    if (this.#container === 'running') {
      this.#container = moveContainer(this.#container, 'stopping')
      // Without a grace the end is all there is to tell.
      if (graceOf(policy) > 0 && this.#decided?.kind === 'kill')
        void this.#report.tell('killing', {}).catch((error: unknown) => this.#log.error({ error }, 'status.report_failed'))
    }
    this.#stop.begin(policy)
  }

  /** The removal goes on while the status is on its way to the disk; the runtime's record of the exit stays until it is there. */
  async #end(ending: Ending): Promise<void> {
    if (this.#runs) this.#container = moveContainer(this.#container, 'exited')
    this.#stop.over()
    const willRestart = this.#isFollowed(ending)
    if (willRestart) this.#succeed(ending)
    else this.#lease.leave()
    const causes = this.#causesOf(ending)
    const told = this.#report.tell(ending.state, { ...statusFacts(ending), willRestart, causes }).then(() => {
      this.#launched.abort()
      this.#ended.abort()
      const { state, reason, exitCode } = ending
      this.#log.info({ attempt: this.attempt, state, reason, exitCode: exitCode ?? -1, willRestart }, 'task.ended')
    })
    // What its cgroup counted is all that proves this end: an agent that is killed in between must leave it to the next.
    if (ending.outOfMemory) await told
    await Promise.all([told, this.#remove(told)])
  }

  async #neverRan(failure: unknown): Promise<void> {
    const killed = failure instanceof KilledDuringLaunch
    if (!killed && !isFault(failure)) throw failure
    await this.#end(killed ? endingOfUnlaunched(this.#decided) : endingOfFault(failure as Fault))
  }

  /** False where the launch is left to the next agent. */
  async #begin(left: AbortSignal): Promise<boolean> {
    const of = { row: this.row, previous: this.#neighbours.previous(), bootId: this.#config.bootId }
    this.#waits = this.row.previousContainerId !== ''
    try {
      const given = AbortSignal.any([this.#launchStop.signal, left])
      await this.#neighbours.turn(this.#launchStop.signal)
      await untilBegin(this.#parts, of, given)
      await this.#lease.granted(given)
      return true
    } catch (e) {
      if (!left.aborted || this.#launchStop.signal.aborted) throw e
      return false
    } finally {
      this.#waits = false
    }
  }

  /** What was decided before the agent's restart stands. */
  #isFollowed(ending: Ending): boolean {
    const policy = this.#task?.restart ?? null
    if (restarts(policy) && this.#neighbours.isSucceeded()) return true
    return !this.#killAsked && isFollowed(policy, this.row, ending)
  }

  #succeed({ reason }: Pick<Ending, 'state' | 'reason'>): void {
    this.#neighbours.succeed(nextAttempt(this.#task?.restart ?? null, this.row, reason, this.#ranMs()))
  }

  #ranMs(): number {
    const ticks = this.#objects.startTicks
    return ticks === undefined ? 0 : Math.max(0, this.#parts.bootClock.nowMs() - ticks * msPerTick)
  }

  async #remove(told: Promise<void> = Promise.resolve()): Promise<void> {
    this.#container = moveContainer(this.#container, 'removing')
    await this.#removal.clear(told)
    this.#container = moveContainer(this.#container, 'removed')
    this.#removed.abort()
    if (!this.#removal.clean) void this.#removal.clearLater()
  }

  /** Takes down what is left of the container; repeatable. False where something is left still. */
  clear(): Promise<boolean> {
    return this.#removal.clear()
  }

  get #task(): TaskDefinition | undefined {
    return this.row.group?.tasks[0]
  }

  #bare(): IsolatorRequest {
    return bareRequest(this.#config, this.containerId, this.#task, this.#objects.made)
  }
}
