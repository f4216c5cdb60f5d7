import { readFileSync, statfsSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { Clock } from '../../base/clock.ts'
import type { Service } from '../../base/service.ts'
import type { CgroupLayout } from '../../isolators/cgroup2/layout.ts'
import { readOomKills } from '../../isolators/cgroup2/usage.ts'
import type { Cause } from '../cause/cause.ts'
import type { KernelEvent } from '../cause/kernel-event.ts'
import { type Evidence, rankCauses } from '../cause/rank.ts'
import type { Ending } from '../ending.ts'
import { lastLinesOf } from '../logs/last-lines.ts'
import { KernelLog } from './kernel-log.ts'
import { RecorderRing } from './ring.ts'
import { containerSample, nodeSample, type Sample } from './sample.ts'
import { SignalTrace } from './signal-trace.ts'

export interface FlightRecorderParts {
  readonly ring: RecorderRing
  readonly kernelLog: KernelLog
  readonly signals: SignalTrace
  readonly layout: CgroupLayout
  readonly clock: Clock
  /** Of the containers that run now. */
  readonly running: () => readonly string[]
}

export interface FlightRecorderConfig {
  readonly cgroupParent: string
  readonly sampleMs: number
}

/** One end, as the runner of the task knows it. */
export interface EndedAttempt {
  readonly containerId: string
  readonly taskId: string
  readonly attempt: number
  readonly pid: number | undefined
  readonly sandboxDir: string
  readonly logPath: string
  readonly memoryLimitBytes: number
  readonly ending: Ending
}

/** Beside the log of a task that failed: outlives container and boot. */
export const recordName = 'recorder.jsonl'
const recordBytes = 32 * 1024
const linesKept = 20
/** So that the event loop stays free. */
const samplesAtOnce = 20
/** A pressure below this, in percent, is every day. */
const notablePressure = 10

/** With the host's own kernel log and tracing, and a ring in a directory that dies with the boot. */
export function recorderOf(
  parts: Pick<FlightRecorderParts, 'layout' | 'clock'> & {
    readonly tasks: () => readonly { readonly containerId: string; readonly state: string }[]
  },
  config: FlightRecorderConfig & { readonly bootDir: string }
): FlightRecorder {
  const { layout, clock, tasks } = parts
  const ring = new RecorderRing(join(config.bootDir, 'recorder'))
  const signals = new SignalTrace(`hearth-${basename(config.cgroupParent)}`)
  const running = (): readonly string[] => tasks().flatMap((t) => (t.state === 'running' ? [t.containerId] : []))
  return new FlightRecorder({ layout, clock, ring, kernelLog: new KernelLog(), signals, running }, config)
}

/**
 * The flight recorder of a node: what hit limits, which kernel messages came, who ended and why. It keeps its last minutes in
 * files that die with the boot and copies them beside the log of a task that failed. When nothing happens it writes nothing.
 */
export class FlightRecorder implements Service {
  readonly name = 'flight-recorder'
  readonly #parts: FlightRecorderParts
  readonly #config: FlightRecorderConfig
  readonly #before = new Map<string, Sample>()
  readonly #stop = new AbortController()
  #loop: Promise<void> | undefined
  #isOpen = false

  constructor(parts: FlightRecorderParts, config: FlightRecorderConfig) {
    this.#parts = parts
    this.#config = config
  }

  async start(): Promise<void> {
    this.#loop = this.#watch()
  }

  async stop(): Promise<void> {
    this.#stop.abort()
    await this.#loop
    const { kernelLog, running, signals, ring } = this.#parts
    kernelLog.close()
    if (running().length > 0) return
    signals.stop()
    ring.remove()
  }

  /** One row of what others saw: a probe that failed, a lease that ran out. */
  note(event: string, facts: Readonly<Record<string, string | number | boolean>>): void {
    this.#parts.ring.write({ atMs: Math.round(this.#parts.clock.wallMs()), event, ...facts })
  }

  /**
   * Why the attempt ended, best first. To be called while its cgroup is still there: synchronous, so that nothing is removed
   * meanwhile. Of a failure the record is copied beside its log.
   */
  causesOf(ended: EndedAttempt): readonly Cause[] {
    const { ending, containerId, taskId, attempt } = ended
    this.#before.delete(containerId)
    const facts = { containerId, taskId, attempt, state: ending.state, reason: ending.reason, exitCode: ending.exitCode ?? -1 }
    if (ending.state === 'finished') return []
    // Of an end that was asked for nothing has to be found out.
    if (ending.state === 'killed') return this.#told(facts, rankCauses(nothingSeenOf(ended)))
    this.#open()
    while (this.#takeKernelLog()) {
      // An end at the agent's very start: what the kernel said before stands in front of what it says of this one.
    }
    const causes = this.#told(facts, rankCauses(this.#evidence(ended)))
    this.#copyTo(ended.sandboxDir, containerId)
    return causes
  }

  #told(facts: Readonly<Record<string, string | number>>, causes: readonly Cause[]): readonly Cause[] {
    this.note('task.ended', { ...facts, cause: causes[0]?.kind ?? 'none' })
    return causes
  }

  #evidence(ended: EndedAttempt): Evidence {
    const { layout, kernelLog, signals } = this.#parts
    const { containerId, ending, logPath } = ended
    return {
      ...nothingSeenOf(ended),
      oomKills: readOomKills(layout, join(this.#config.cgroupParent, containerId)),
      diskFull: hasNoRoom(logPath),
      kernel: kernelLog.events,
      signals: ending.signal === undefined ? [] : signals.read(),
      nowSeconds: this.#parts.clock.monotonicMs() / 1000 + monotonicOriginSeconds(),
      lastLines: lastLinesOf(logPath, linesKept),
      describe: describeProcess
    }
  }

  async #watch(): Promise<void> {
    const { clock } = this.#parts
    this.#open()
    // What the kernel said before, also while no agent ran, in pieces.
    while (this.#takeKernelLog()) await clock.sleep(1, this.#stop.signal).catch(() => undefined) // stopping
    while (!this.#stop.signal.aborted) {
      await clock.sleep(this.#config.sampleMs, this.#stop.signal).catch(() => undefined) // stopping
      this.#takeKernelLog()
      await this.#sample()
    }
  }

  #open(): void {
    if (this.#isOpen) return
    this.#isOpen = true
    this.#parts.signals.start()
    this.#parts.kernelLog.open()
  }

  /** Not those of other users of cgroups on this host. */
  #concerns(event: KernelEvent): boolean {
    return (
      event.kind === 'fault' ||
      (event.kind === 'oom' && event.scope === 'host') ||
      event.path.startsWith(this.#config.cgroupParent)
    )
  }

  /** True where more is to be taken. */
  #takeKernelLog(): boolean {
    const { events, more } = this.#parts.kernelLog.poll()
    for (const event of events) if (this.#concerns(event)) this.note(`kernel.${event.kind}`, factsOf(event))
    return more
  }

  async #sample(): Promise<void> {
    const { layout, running, clock } = this.#parts
    const ids = running()
    if (ids.length === 0) return
    const node = nodeSample()
    if (Object.values(node).some((percent) => percent >= notablePressure)) this.note('node.pressure', node)
    for (const [i, containerId] of ids.entries()) {
      if (i % samplesAtOnce === samplesAtOnce - 1) await clock.sleep(1, this.#stop.signal).catch(() => undefined) // stopping
      const now = containerSample(layout, join(this.#config.cgroupParent, containerId))
      const before = this.#before.get(containerId) ?? {}
      this.#before.set(containerId, now)
      const grown = Object.entries(now).flatMap(([name, value]) =>
        value > (before[name] ?? 0) && name !== 'ioBytes' ? [name] : []
      )
      if (grown.length > 0) this.note('container.pressed', { containerId, ...now })
    }
  }

  /** What tells of other containers stays here: their owners may be others. */
  #copyTo(sandboxDir: string, containerId: string): void {
    const lines = this.#parts.ring.tail(recordBytes).split('\n')
    const own = lines.filter((line) => line.includes(containerId) || !containerIdPattern.test(line))
    try {
      writeFileSync(join(sandboxDir, recordName), own.join('\n'), { mode: 0o600 })
    } catch {
      // No sandbox was made, or the disk is full: the status has the causes.
    }
  }
}

/** What the runner of the task knows by itself. */
const nothingSeenOf = ({ ending, containerId, pid, memoryLimitBytes }: EndedAttempt): Evidence => ({
  state: ending.state,
  reason: ending.reason,
  message: ending.message,
  exitCode: ending.exitCode,
  signal: ending.signal,
  containerId,
  pid,
  oomKills: 0,
  memoryLimitBytes,
  diskFull: false,
  kernel: [],
  signals: [],
  nowSeconds: 0,
  lastLines: [],
  describe: () => undefined
})

const containerIdPattern = /[0-9a-f]{32}/

const factsOf = ({ kind: _, ...facts }: KernelEvent): Readonly<Record<string, string | number>> => facts

/** The clock's origin in CLOCK_MONOTONIC, which the kernel's times are in: process.hrtime reads that one. */
const monotonicOriginSeconds = (): number => Number(process.hrtime.bigint()) / 1e9 - performance.now() / 1000

function hasNoRoom(logPath: string): boolean {
  try {
    const { bavail, bsize } = statfsSync(join(logPath, '..'))
    return bavail * bsize < 64 * 1024
  } catch {
    return false // no sandbox was made
  }
}

/** Who has this process id now: its command line, and the unit or container it belongs to. */
function describeProcess(pid: number): string | undefined {
  try {
    const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()
    const cgroup = readFileSync(`/proc/${pid}/cgroup`, 'utf8').trim().split('\n').at(-1)?.split(':').at(-1) ?? '/'
    return `${command} in ${cgroup}`
  } catch {
    return undefined // it has ended
  }
}
