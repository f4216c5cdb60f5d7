import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { Fault } from '../../../base/fault.ts'
import type { Init } from '../../../proto/codec.ts'
import type {
  Artifact,
  KillPolicy,
  Probe,
  RestartPolicy,
  TaskDefinition,
  TaskStatus,
  Walls
} from '../../../proto/gen/messages.ts'
import { rangeNumber } from '../../../proto/id-ranges.ts'
import { newContainerId } from '../../../proto/ids.ts'
import { scalar } from '../../../proto/resources.ts'
import type { FailFault } from '../../fail-points/shim.ts'
import { markedProgram } from '../invariants/marks.ts'
import { seeProcesses } from '../invariants/processes.ts'
import { isEnd } from '../invariants/status-order.ts'
import { frameworkId } from '../master.ts'
import { marksMount, type Start, World } from '../world.ts'
import { ProbeTarget } from './probe-target.ts'
import { startProgram } from './programs.ts'

/** One fault at one hit of one point. */
export interface Strike {
  readonly point: string
  readonly hit: number
  readonly fault: FailFault
}

/** What a task of a scenario runs, and under what limits. */
export interface TaskWish {
  /** Shell lines; may set `$code` and `$lines`. */
  readonly body: string
  readonly image?: string
  readonly memoryMb?: number
  readonly terminal?: boolean
  readonly runtime?: 'runc' | 'crun'
  readonly network?: 'none' | 'host'
  readonly diskMb?: number
  readonly logBudget?: { readonly fileBytes: number; readonly files: number }
  readonly restart?: Init<RestartPolicy>
  readonly probes?: readonly Init<Probe>[]
  readonly killPolicy?: Init<KillPolicy>
  /** The master of the campaign grants each. */
  readonly leaseMs?: number
  readonly user?: string
  readonly walls?: Init<Walls>
  readonly seccomp?: string
  /** Artifacts out of the folder of marks, which is made with these bytes in it. */
  readonly artifacts?: readonly { readonly name: string; readonly bytes: Buffer; readonly unpack: boolean }[]
}

export interface PodWish extends TaskWish {
  readonly part: TaskDefinition['part']
}

export interface Ordered {
  readonly taskId: string
  readonly containerId: string
}

/** How the agent of this moment is started; without it, as it is shipped. */
export interface Begin {
  /** Hits count from the start, not from `arm`. */
  readonly armed: boolean
  readonly strike: Strike | undefined
}

export interface StagePlaces {
  /** Holds the agent, with fail points or as it is shipped. */
  readonly programs: string
  /** Empty, and of a short path. */
  readonly directory: string
  readonly wrapper?: readonly string[]
}

const isOf = (containerId: string, status: Pick<TaskStatus, 'containerId' | 'assignedContainerId'>): boolean =>
  status.containerId === containerId || status.assignedContainerId === containerId

const mebibyte = 1024 * 1024
const lookEveryMs = 20
/** A delay may come between. */
const stopMs = 25_000
/** An agent that comes up this often without staying has a bug that no restart cures. */
const restartsMost = 6

/** A world in which one life cycle is acted, with an agent that may be struck, and is started again as a supervisor would. */
export class Stage {
  readonly world: World
  readonly ordered: Ordered[] = []
  /** Of its pods. */
  readonly sandboxes: string[] = []
  readonly signal: AbortSignal
  readonly #programs: string
  readonly #wrapper: readonly string[] | undefined
  readonly #recordPath: string
  #restarts = 0
  #target: ProbeTarget | undefined

  private constructor(world: World, places: StagePlaces, recordPath: string, signal: AbortSignal) {
    this.world = world
    this.#programs = places.programs
    this.#wrapper = places.wrapper
    this.#recordPath = recordPath
    this.signal = signal
  }

  static async open(places: StagePlaces, signal: AbortSignal): Promise<Stage> {
    const { programs, directory } = places
    const world = await World.open({ directory, program: join(programs, startProgram), mayEnd: true })
    const recordPath = join(directory, 'record')
    writeFileSync(recordPath, '')
    return new Stage(world, places, recordPath, signal)
  }

  /** Starts an agent and waits until it has registered, or has died. */
  async begin(how?: Begin): Promise<void> {
    const before = this.world.master.registrations
    this.start(how)
    await this.until('the agent to register', () => this.world.master.registrations > before || !this.world.isRunning)
  }

  /** The agent that may be struck is wrapped where there is a wrapper, and armed where there is none; the others are left alone. */
  start(how?: Begin): void {
    const own: Start = { program: join(this.#programs, startProgram) }
    if (how === undefined) this.world.start(own)
    else if (this.#wrapper !== undefined) this.world.start({ ...own, wrapper: this.#wrapper })
    else this.world.start({ ...own, env: this.#faultEnv(how) })
  }

  /** Ends the agent without a word; a wrapper alone would leave it running. */
  async kill(): Promise<void> {
    if (this.#wrapper !== undefined) this.#signalAgents('SIGKILL')
    await this.world.end('SIGKILL')
  }

  #signalAgents(signal: 'SIGKILL' | 'SIGTERM'): void {
    for (const { pid } of seeProcesses(this.world.places).filter((p) => p.kind === 'agent')) {
      try {
        process.kill(pid, signal)
      } catch {
        // It has just ended.
      }
    }
  }

  /** Whether an agent ended that nobody had asked to. */
  get died(): boolean {
    return this.#restarts > 0
  }

  task(wish: TaskWish): Ordered {
    const containerId = newContainerId()
    const ordered = { taskId: `task-${this.ordered.length + 1}`, containerId }
    this.ordered.push(ordered)
    const ids = wish.walls?.userNamespace === true ? { ids: rangeNumber(0) } : {}
    this.world.master.launch(containerId, { frameworkId, role: '*', tasks: [this.#taskOf(ordered, wish)], ...ids })
    return ordered
  }

  pod(wishes: readonly PodWish[]): void {
    const sandboxId = newContainerId()
    this.sandboxes.push(sandboxId)
    const containers = wishes.map((wish) => {
      const ordered = { taskId: `task-${this.ordered.length + 1}`, containerId: newContainerId() }
      this.ordered.push(ordered)
      return { ordered, definition: { ...this.#taskOf(ordered, wish), part: wish.part } }
    })
    const containerIds = containers.map(({ ordered }) => ordered.containerId)
    const tasks = containers.map(({ definition }) => definition)
    this.world.master.launchPod(sandboxId, containerIds, { frameworkId, role: '*', tasks })
  }

  /** From now on hits count in the agent that runs. */
  async arm(): Promise<void> {
    const pid = this.world.agentPid
    if (this.#wrapper !== undefined) return
    if (pid !== undefined) process.kill(pid, 'SIGUSR2')
    await this.until('the agent to be armed', () => this.record().includes('armed') || !this.world.isRunning)
  }

  /** Every hit in its order, with what the shim says besides. */
  record(): readonly string[] {
    return readFileSync(this.#recordPath, 'utf8').split('\n').filter(Boolean)
  }

  get fired(): boolean {
    return this.record().some((line) => line.startsWith('fired '))
  }

  /** Asks the agent to end in order. One that does not is killed, and the run says so. */
  async stop(): Promise<void> {
    const pid = this.world.agentPid
    if (this.#wrapper !== undefined) {
      // strace would let go of the agent at a signal of its own: the agent must hear this one.
      this.#signalAgents('SIGTERM')
      return this.until('the agent to end', () => !this.world.isRunning)
    }
    const ended = this.world.end('SIGTERM')
    const late = await Promise.race([ended.then(() => false), pause(stopMs, true, { ref: false })])
    if (!late) return
    if (pid !== undefined) process.kill(pid, 'SIGKILL')
    await ended
    throw new Fault('timeout', `the agent did not end within ${stopMs} ms of SIGTERM`)
  }

  /** Looks until it holds; an agent that dies meanwhile is started again, without a fault. */
  async settle(what: string, holds: () => boolean): Promise<void> {
    await this.until(what, () => {
      if (!this.world.isRunning) this.#revive()
      return holds()
    })
  }

  /** Rejects when the run's time is over. */
  async until(what: string, holds: () => boolean): Promise<void> {
    while (!holds()) {
      if (this.signal.aborted) throw new Fault('timeout', `waited in vain for ${what}`)
      await pause(lookEveryMs)
    }
  }

  hasEnded({ containerId }: Ordered): boolean {
    const { master } = this.world
    const wasRefused = master.answerTo(containerId)?.accepted === false
    return (
      wasRefused || master.statuses.some(({ status }) => isOf(containerId, status) && isEnd(status.state) && !status.willRestart)
    )
  }

  /** The containers of its attempts, oldest first: the first one's is known before anything is told of it. */
  attemptsOf({ containerId }: Ordered): readonly string[] {
    const told = this.world.master.statuses.filter(({ status }) => isOf(containerId, status))
    return [...new Set([containerId, ...told.map(({ status }) => status.containerId)])]
  }

  /** What its probes may ask; it is gone with the stage. */
  async openProbeTarget(): Promise<ProbeTarget> {
    this.#target ??= await ProbeTarget.open()
    return this.#target
  }

  async close(): Promise<void> {
    this.#target?.close()
    await this.world.close()
  }

  /** What the task's program has left outside (invariants/marks.ts); read as it stands. */
  marks({ containerId }: Ordered): string {
    const path = join(this.world.places.marksDir, containerId)
    return existsSync(path) ? readFileSync(path, 'utf8') : ''
  }

  /** Whether any process of the task's own is left. */
  hasPrograms({ containerId }: Ordered): boolean {
    return seeProcesses(this.world.places).some((p) => p.kind === 'program' && p.containerId === containerId)
  }

  lastWords(): string {
    const lines = this.world.logText().split('\n')
    return lines
      .filter((line) => !line.includes('"level":20'))
      .slice(-8)
      .join('\n    ')
  }

  #revive(): void {
    this.#restarts += 1
    if (this.#restarts > restartsMost) throw new Fault('unavailable', `the agent died ${this.#restarts} times`)
    this.start()
  }

  #taskOf({ taskId }: Ordered, wish: TaskWish): Init<TaskDefinition> {
    return {
      taskId,
      name: taskId,
      image: wish.image ?? 'host',
      runtime: wish.runtime ?? 'runc',
      resources: [
        scalar('cpus', 500),
        scalar('mem', (wish.memoryMb ?? 64) * mebibyte),
        ...(wish.diskMb === undefined ? [] : [scalar('disk', wish.diskMb * mebibyte)])
      ],
      process: {
        arguments: ['/bin/sh', '-c', markedProgram(marksMount, wish.body)],
        user: wish.user ?? '',
        terminal: wish.terminal ?? false,
        openStdin: wish.terminal ?? false
      },
      mounts: [{ source: this.world.places.marksDir, target: marksMount, readOnly: false }],
      network: { mode: wish.network ?? 'none' },
      ...(wish.walls === undefined ? {} : { walls: wish.walls }),
      ...(wish.seccomp === undefined ? {} : { seccomp: wish.seccomp }),
      ...(wish.logBudget === undefined ? {} : { logBudget: wish.logBudget }),
      ...(wish.killPolicy === undefined ? {} : { killPolicy: wish.killPolicy }),
      ...(wish.leaseMs === undefined ? {} : { lease: { lengthMs: wish.leaseMs } }),
      artifacts: (wish.artifacts ?? []).map(({ name, bytes, unpack }) => this.#artifactOf(name, bytes, unpack)),
      ...(wish.restart === undefined ? {} : { restart: wish.restart }),
      ...(wish.probes === undefined ? {} : { probes: [...wish.probes] })
    }
  }

  #artifactOf(name: string, bytes: Buffer, unpack: boolean): Init<Artifact> {
    const path = join(this.world.places.marksDir, name)
    writeFileSync(path, bytes)
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    return { url: pathToFileURL(path).href, sha256, unpack, target: `deep/${name}` }
  }

  #faultEnv({ armed, strike }: Begin): Readonly<Record<string, string>> {
    const what =
      strike === undefined
        ? {}
        : { HEARTH_FAIL_POINT: strike.point, HEARTH_FAIL_HIT: String(strike.hit), HEARTH_FAIL_FAULT: strike.fault }
    return { HEARTH_FAIL_RECORD: this.#recordPath, ...(armed ? { HEARTH_FAIL_ARMED: '1' } : {}), ...what }
  }
}
