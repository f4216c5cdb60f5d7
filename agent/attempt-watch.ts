import { join } from 'node:path'
import type { Clock } from '../base/clock.ts'
import type { Exec } from '../base/exec.ts'
import type { Log } from '../base/log.ts'
import type { Isolator, IsolatorRequest, Limitation } from '../isolators/isolator.ts'
import type { ContainerExit, Runtime } from '../isolators/runtime/runtime.ts'
import type { KillPolicy, Probe, TaskDefinition, TaskRow } from '../proto/gen/messages.ts'
import type { AttemptReport } from './attempt-report.ts'
import type { Decided } from './ending.ts'
import { probe } from './health/prober.ts'
import type { AttemptLease } from './lease/attempt-lease.ts'
import { type LogRotation, logBudgetDefaults } from './logs/rotation.ts'
import type { FlightRecorder } from './recorder/recorder.ts'

export interface AttemptWatchParts {
  readonly runtime: Runtime
  readonly isolators: readonly Isolator[]
  readonly clock: Clock
  readonly exec: Exec
  readonly log: Log
  readonly rotation: Pick<LogRotation, 'watch' | 'unwatch'>
  readonly recorder: Pick<FlightRecorder, 'note'>
}

/** The rest of the attempt, as its watch needs it. */
interface Attempt {
  readonly report: AttemptReport
  readonly lease: AttemptLease
  readonly logPath: string
  /** Of the task, or of its image where the task names none. */
  probes(): readonly Probe[]
  /** For how long it has been running, in milliseconds. */
  ranMs(): number
  /** It has to end, for a reason that was found here. */
  over(why: NonNullable<Decided>, policy: KillPolicy | null): void
}

const atOnce = { signal: '', graceMs: 0 }

/** What an attempt is watched for while it runs: its log, its limits, its probes, its lease, its monitor and its exit. */
export class AttemptWatch {
  readonly #parts: AttemptWatchParts
  readonly #request: IsolatorRequest
  readonly #row: TaskRow
  readonly #attempt: Attempt

  constructor(parts: AttemptWatchParts, request: IsolatorRequest, row: TaskRow, attempt: Attempt) {
    this.#parts = parts
    this.#request = request
    this.#row = row
    this.#attempt = attempt
  }

  /** Waits for the exit; nothing is watched any more when it resolves. */
  async untilExit(): Promise<ContainerExit> {
    const over = new AbortController()
    const { isolators, runtime, rotation } = this.#parts
    const watches = isolators.flatMap((i) => (i.watch === undefined ? [] : [i.watch(this.#request, over.signal)]))
    this.#watchLog()
    this.#watchHealth(over.signal)
    this.#watchLease(over.signal)
    for (const watch of watches)
      void watch.then(
        (l) => this.#passed(l),
        (error: unknown) => {
          if (!over.signal.aborted) this.#parts.log.error({ error }, 'isolator.watch_failed')
        }
      )
    try {
      return await runtime.wait(this.#request.containerId, new AbortController().signal, () => this.#unwatched())
    } finally {
      over.abort()
      await rotation.unwatch(this.#attempt.logPath)
    }
  }

  /** Puts the log's names in order, of one at whose end nobody did. */
  async settleLog(): Promise<void> {
    this.#watchLog()
    await this.#parts.runtime.completeLog(this.#request.containerId)
    await this.#parts.rotation.unwatch(this.#attempt.logPath)
  }

  #watchLog(): void {
    const budget = this.#task?.logBudget ?? logBudgetDefaults
    const controlPath = join(this.#request.bundleDir, 'ctl')
    this.#parts.rotation.watch({ path: this.#attempt.logPath, controlPath, ...budget })
  }

  /** Its monitor is gone: it lives on, its output goes nowhere and its exit code will not be known. */
  #unwatched(): void {
    const message = 'its monitor is gone: the task goes on, but its output is lost from here on and its exit code will be'
    const { report } = this.#attempt
    this.#parts.log.warn({}, 'container.monitor_lost')
    if (report.state !== 'running') return
    void report.tell('running', { message }).catch((error: unknown) => this.#parts.log.error({ error }, 'status.report_failed'))
  }

  #passed(limitation: Limitation): void {
    this.#parts.log.warn({ limit: limitation.limit }, 'task.limit_passed')
    this.#attempt.over({ kind: 'limit', limitation }, atOnce)
  }

  #watchHealth(signal: AbortSignal): void {
    const { report } = this.#attempt
    const { ready = false, startedUp = false } = report.latest ?? {}
    const { containerId, bundleDir } = this.#request
    const failedTo = (error: unknown): void => this.#parts.log.error({ error }, 'probe.broken')
    const listener = {
      changed: (told: { readonly ready: boolean; readonly startedUp: boolean }): void => {
        // What was told of the launch stays to be read.
        const { message = '' } = report.latest ?? {}
        if (report.state === 'running') void report.tell('running', { ...told, message }).catch(failedTo)
      },
      failed: (message: string): void => {
        this.#note('probe.failed', message)
        this.#attempt.over({ kind: 'probe', message }, this.#task?.killPolicy ?? null)
      }
    }
    const known = { ready, startedUp }
    const probed = { containerId, bundleDir, probes: this.#attempt.probes(), known, ranMs: () => this.#attempt.ranMs() }
    void probe(this.#parts, probed, listener, signal).catch(failedTo)
  }

  #watchLease(signal: AbortSignal): void {
    const ended = ({ message, isUrgent }: { readonly message: string; readonly isUrgent: boolean }): void => {
      this.#note('lease.over', message)
      this.#attempt.over({ kind: 'lease', message }, isUrgent ? atOnce : (this.#task?.killPolicy ?? null))
    }
    const failedTo = (error: unknown): void => this.#parts.log.error({ error }, 'lease.broken')
    void this.#attempt.lease.follow(ended, signal).catch(failedTo)
  }

  #note(event: 'probe.failed' | 'lease.over', message: string): void {
    this.#parts.log.warn({ message }, `task.${event.replace('.', '_')}`)
    this.#parts.recorder.note(event, { containerId: this.#request.containerId, message })
  }

  get #task(): TaskDefinition | undefined {
    return this.#row.group?.tasks[0]
  }
}
