import { mkdir, rm } from 'node:fs/promises'
import { constants } from 'node:os'
import { join } from 'node:path'
import type { Clock } from '../base/clock.ts'
import { Fault, isFault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import type { BundlePart, Isolator, IsolatorRequest, Limitation, MadeObject } from '../isolators/isolator.ts'
import { buildSpec } from '../isolators/runtime/oci/spec.ts'
import type { ContainerExit, RunningContainer, Runtime } from '../isolators/runtime/runtime.ts'
import { type ContainerState, moveContainer } from '../proto/container-state.ts'
import type { KillPolicy, TaskRow, TaskStatus } from '../proto/gen/messages.ts'
import { canMove, isTerminal, move, type TaskState } from '../proto/task-state.ts'
import { type Decided, type Ending, endingOf, endingOfFault, launchFailure, statusFacts } from './ending.ts'
import { type LogRotation, logBudgetDefaults, unattendedLogBytes } from './logs/rotation.ts'
import type { ImageStore, Ledger, ResolvedImage } from './ports.ts'
import { cleanUpAll, prepareAll } from './prepare.ts'
import { bareRequest, bundleOf, fullRequest, logOf, onlyTask, type RequestConfig, sandboxOf, type User } from './task-request.ts'

export interface TaskRunnerParts {
  readonly ledger: Ledger
  readonly outbox: { report(status: Partial<TaskStatus>): Promise<TaskStatus> }
  readonly images: ImageStore
  readonly runtime: Runtime
  readonly isolators: readonly Isolator[]
  readonly clock: Clock
  readonly log: Log
  resolveUser(user: string, layers: readonly string[]): Promise<User>
  readonly rotation: Pick<LogRotation, 'watch' | 'unwatch'>
}

export interface TaskRunnerConfig extends RequestConfig {
  readonly agentId: string
  readonly bootId: string
}

const prepareDeadlineMs = 300_000
const startDeadlineMs = 60_000
const defaultGraceMs = 10_000
/** Objects that every container has; the isolators name theirs through the journal. */
const ownObjects = ['bundle', 'conmon', 'runtime_state', 'log_file'] as const

/**
 * One attempt of one task from its row in the ledger to its removal: the only place that moves the two state machines.
 *
 *   launch ─ prepare ─ runtime.launch ─ follow ─ end ─ remove          recover: follow | endUnseen
 */
export class TaskRunner {
  readonly row: TaskRow
  readonly #parts: TaskRunnerParts
  readonly #config: TaskRunnerConfig
  readonly #log: Log
  #task: TaskState = 'staging'
  #container: ContainerState = 'preparing'
  #latest: TaskStatus | null
  #decided: Decided
  #killBy: AbortController | undefined
  readonly #launchStop = new AbortController()
  readonly #launched = new AbortController()
  readonly #ended = new AbortController()
  readonly #removed = new AbortController()

  constructor(row: TaskRow, latest: TaskStatus | null, parts: TaskRunnerParts, config: TaskRunnerConfig) {
    this.row = row
    this.#parts = parts
    this.#config = config
    this.#latest = latest
    this.#log = parts.log.child({ taskId: this.taskId, frameworkId: this.frameworkId, containerId: row.containerId })
    if (latest !== null && latest.state !== 'unspecified_state') this.#task = latest.state
  }

  get taskId(): string {
    return this.row.group?.tasks[0]?.taskId ?? ''
  }
  get frameworkId(): string {
    return this.row.group?.frameworkId ?? ''
  }
  get containerId(): string {
    return this.row.containerId
  }
  /** Of a container that is not yet removed; it keeps the image's layers from being collected. */
  get imageDigest(): string | undefined {
    return this.#parts.ledger.view.tasks.get(this.containerId)?.objects.get(`bundle:${this.containerId}`)?.facts['image']
  }
  get state(): ContainerState {
    return this.#container
  }
  get terminal(): boolean {
    return this.row.group?.tasks[0]?.process?.terminal ?? false
  }
  get openStdin(): boolean {
    return this.row.group?.tasks[0]?.process?.openStdin ?? false
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
  /** Aborts when the launch is over: the container runs, or never will. */
  get launched(): AbortSignal {
    return this.#launched.signal
  }
  /** Aborts when the container has ended, its last status is on the disk and its log is complete. */
  get ended(): AbortSignal {
    return this.#ended.signal
  }
  /** Aborts when nothing of the container is left but its sandbox and log. */
  get removed(): AbortSignal {
    return this.#removed.signal
  }
  readonly latest = (): TaskStatus | null => this.#latest

  /** Runs the task from the start to its removal. Rejects only with a broken invariant or when the ledger is dead. */
  async launch(): Promise<void> {
    let stage = 'preparing the container'
    try {
      const within = (ms: number): AbortSignal => AbortSignal.any([this.#launchStop.signal, AbortSignal.timeout(ms)])
      const prepared = await this.#prepare(within(prepareDeadlineMs))
      stage = 'starting the container'
      this.#container = moveContainer(this.#container, 'creating')
      const running = await this.#start(prepared, within(startDeadlineMs))
      await this.follow(running)
    } catch (e) {
      if (this.#ended.signal.aborted) throw e
      await this.#neverRan(launchFailure(e, stage))
    }
  }

  /** Takes over a running container: from a launch, or from before the agent's restart. */
  async follow(running: RunningContainer): Promise<void> {
    if (this.#container === 'preparing') this.#container = moveContainer(this.#container, 'creating')
    this.#container = moveContainer(this.#container, 'running')
    this.#launched.abort()
    this.#log.info({ pid: running.pid, monitorPid: running.monitorPid }, 'task.running')
    const facts = { pid: String(running.pid), startTicks: String(running.startTicks), monitorPid: String(running.monitorPid) }
    const noted = this.#object('conmon', 'done', facts)
    if (this.#task !== 'running' && this.#task !== 'killing') await this.#report('running', {})
    await noted
    if (this.#decided?.kind === 'kill') this.#stopBy(this.#parts.ledger.view.tasks.get(this.containerId)?.kill?.policy ?? null)
    await this.#end(endingOf(await this.#untilExit(), this.#decided))
  }

  /** For a task that ended before the agent's restart; `unclean` where something of its container is left. */
  async settle(unclean = false): Promise<void> {
    this.#container = moveContainer(moveContainer(this.#container, 'creating'), 'exited')
    this.#launched.abort()
    this.#ended.abort()
    if (unclean) return this.remove()
    this.#container = moveContainer(moveContainer(this.#container, 'removing'), 'removed')
    this.#removed.abort()
  }

  /** For a container that ended, or vanished, while no agent watched. */
  async endUnseen(exit: ContainerExit | Ending): Promise<void> {
    this.#container = moveContainer(moveContainer(this.#container, 'creating'), 'lost')
    await this.#end('state' in exit ? exit : endingOf(exit, this.#decided))
  }

  /** A kill that was recorded before the agent's restart. */
  decideKill(): void {
    this.#decided = { kind: 'kill' }
  }

  /**
   * Resolves once the wish is recorded: in the kernel, for what it ends dies with the boot, and the master repeats it until the
   * end is told. A second kill can only shorten the grace.
   */
  async kill(policy: KillPolicy | null): Promise<void> {
    if (isTerminal(this.#task)) return
    await this.#parts.ledger.append({ kill: { containerId: this.containerId, policy } }, 'kernel')
    this.#decided ??= { kind: 'kill' }
    this.#log.info({ graceMs: policy?.graceMs ?? defaultGraceMs }, 'task.kill_requested')
    if (this.#container === 'preparing' || this.#container === 'creating') this.#launchStop.abort(new KilledDuringLaunch())
    else this.#stopBy(policy)
  }

  /** Removes what outlives the container. Only for a removed one. */
  async forget(): Promise<void> {
    await rm(this.sandboxDir, { recursive: true, force: true })
    await this.#parts.ledger.append({ forget: { containerId: this.containerId } }, 'disk')
  }

  async #prepare(
    signal: AbortSignal
  ): Promise<{ readonly request: IsolatorRequest; readonly parts: readonly BundlePart[]; readonly image: ResolvedImage }> {
    const { images, isolators } = this.#parts
    const task = onlyTask(this.row)
    const image = await images.resolve(task.image, signal)
    const user = await this.#parts.resolveUser(task.process?.user || image.user, image.layers)
    const request = fullRequest(this.#config, this.row, image, user, (made) => this.#made(made))
    await Promise.all(ownObjects.map((kind) => this.#object(kind, 'intent', kind === 'bundle' ? { image: image.digest } : {})))
    await mkdir(this.sandboxDir, { recursive: true, mode: 0o711 })
    return { request, parts: await prepareAll(isolators, request, this.#log, signal), image }
  }

  async #start(
    prepared: { readonly request: IsolatorRequest; readonly parts: readonly BundlePart[] },
    signal: AbortSignal
  ): Promise<RunningContainer> {
    const { request, parts } = prepared
    const task = onlyTask(this.row)
    try {
      if (this.#parts.ledger.low) {
        // What the ledger kept free is for endings, not for one launch more.
        throw new Fault('exhausted', 'no space is left on the node’s disk', { reason: 'disk_full' })
      }
      return await this.#parts.runtime.launch(
        {
          containerId: this.containerId,
          bundleDir: this.bundleDir,
          config: buildSpec(request, parts, this.#annotations()),
          logPath: this.logPath,
          logMaxBytes: unattendedLogBytes(task.logBudget ?? logBudgetDefaults),
          terminal: this.terminal,
          openStdin: this.openStdin,
          runtime: task.runtime === 'crun' ? 'crun' : 'runc'
        },
        signal
      )
    } catch (cause) {
      await cleanUpAll([...this.#parts.isolators].reverse(), request, this.#log)
      throw cause
    }
  }

  /** Waits for the exit while the log is rotated and the limits are watched. */
  async #untilExit(): Promise<ContainerExit> {
    const over = new AbortController()
    const request = this.#bare()
    const watches = this.#parts.isolators.flatMap((i) => (i.watch === undefined ? [] : [i.watch(request, over.signal)]))
    const budget = this.row.group?.tasks[0]?.logBudget ?? logBudgetDefaults
    this.#parts.rotation.watch({ path: this.logPath, controlPath: join(this.bundleDir, 'ctl'), ...budget })
    for (const watch of watches)
      void watch.then(
        (l) => this.#passed(l),
        () => undefined
      ) // aborted: the container has ended
    try {
      return await this.#parts.runtime.wait(this.containerId, new AbortController().signal)
    } finally {
      over.abort()
      await this.#parts.rotation.unwatch(this.logPath)
      this.#killBy?.abort()
    }
  }

  #passed(limitation: Limitation): void {
    this.#decided = { kind: 'limit', limitation }
    this.#log.warn({ limit: limitation.limit }, 'task.limit_passed')
    void this.#parts.runtime.kill(this.containerId).catch((error: unknown) => this.#log.error({ error }, 'container.kill_failed'))
  }

  /** Signal, grace, then cgroup.kill. */
  #stopBy(policy: KillPolicy | null): void {
    const graceMs = policy === null ? defaultGraceMs : policy.graceMs
    if (this.#container === 'running') {
      this.#container = moveContainer(this.#container, 'stopping')
      // Without a grace the end is all there is to tell.
      if (graceMs > 0)
        void this.#report('killing', {}).catch((error: unknown) => this.#log.error({ error }, 'status.report_failed'))
    }
    this.#killBy?.abort()
    const killBy = new AbortController()
    this.#killBy = killBy
    const stopping = async (): Promise<void> => {
      if (graceMs > 0) {
        await this.#parts.runtime.signal(this.containerId, signalNumber(policy?.signal ?? ''))
        await this.#parts.clock.sleep(graceMs, killBy.signal)
      }
      await this.#parts.runtime.kill(this.containerId)
    }
    void stopping().catch((error: unknown) => {
      if (!killBy.signal.aborted) this.#log.error({ error }, 'container.kill_failed')
    })
  }

  /** The removal goes on while the status is on its way to the disk; the runtime's record of the exit stays until it is there. */
  async #end(ending: Ending): Promise<void> {
    if (this.#container === 'running' || this.#container === 'stopping')
      this.#container = moveContainer(this.#container, 'exited')
    const told = this.#report(ending.state, statusFacts(ending)).then(() => {
      this.#launched.abort()
      this.#ended.abort()
      this.#log.info({ state: ending.state, reason: ending.reason, exitCode: ending.exitCode ?? -1 }, 'task.ended')
    })
    await Promise.all([told, this.remove(told)])
  }

  async #neverRan(failure: unknown): Promise<void> {
    const killed = failure instanceof KilledDuringLaunch
    if (!killed && !isFault(failure)) throw failure
    const ending: Ending = killed
      ? { state: 'killed', reason: 'killed_during_launch', message: 'killed as asked before it ran' }
      : endingOfFault(failure as Fault)
    await this.#end(ending)
  }

  async remove(told: Promise<void> = Promise.resolve()): Promise<void> {
    this.#container = moveContainer(this.#container, 'removing')
    await this.clear(told)
    this.#container = moveContainer(this.#container, 'removed')
    this.#removed.abort()
  }

  /** Takes down what is left of the container; repeatable. What the ledger must know first is awaited before the last step. */
  async clear(told: Promise<void> = Promise.resolve()): Promise<void> {
    const { runtime, isolators, ledger } = this.#parts
    await runtime.kill(this.containerId)
    await runtime.remove(this.containerId, new AbortController().signal)
    const clean = await cleanUpAll([...isolators].reverse(), this.#bare(), this.#log)
    await told
    runtime.dropExit(this.containerId)
    if (!clean) return
    const objects = ledger.view.tasks.get(this.containerId)?.objects ?? new Map()
    const released = [...objects.values()].map((o) => ({ object: { ...o, phase: 'released' as const } }))
    await Promise.all(released.map((record) => ledger.append(record, 'kernel')))
  }

  async #report(state: TaskState, more: Partial<TaskStatus>): Promise<void> {
    if (this.#task !== state && !canMove(this.#task, state)) return
    if (this.#task !== state) this.#task = move(this.#task, state)
    this.#latest = await this.#parts.outbox.report({
      frameworkId: this.frameworkId,
      taskId: this.taskId,
      attempt: this.row.attempt,
      containerId: this.containerId,
      agentId: this.#config.agentId,
      atMs: Math.round(this.#parts.clock.wallMs()),
      ...more,
      state
    })
  }

  #bare(): IsolatorRequest {
    return bareRequest(this.#config, this.containerId, this.row.group?.tasks[0])
  }

  #made(made: MadeObject): Promise<void> {
    return this.#object(made.kind, 'intent', { path: made.id }, made.id)
  }

  #object(
    kind: MadeObject['kind'] | (typeof ownObjects)[number],
    phase: 'intent' | 'done',
    facts: Record<string, string> = {},
    id = this.containerId
  ): Promise<void> {
    const object = { kind, id, containerId: this.containerId, phase, bootId: this.#config.bootId, facts }
    return this.#parts.ledger.append({ object }, 'kernel')
  }

  /** Enough to rebuild the ledger from what runs. */
  #annotations(): Readonly<Record<string, string>> {
    return {
      'org.hearth.agent': this.#config.agentId,
      'org.hearth.framework': this.frameworkId,
      'org.hearth.task': this.taskId,
      'org.hearth.attempt': String(this.row.attempt),
      'org.hearth.spec-digest': this.row.specDigest
    }
  }
}

class KilledDuringLaunch extends Error {
  override readonly name = 'KilledDuringLaunch'
}

function signalNumber(name: string): number {
  const known: Readonly<Record<string, number>> = constants.signals
  const number = known[name === '' ? 'SIGTERM' : name]
  if (number === undefined) throw new Fault('invalid', `there is no signal ${name}`)
  return number
}
