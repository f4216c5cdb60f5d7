import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { systemBootClock } from '../../agent/host/boot-time.ts'
import { systemExec } from '../../agent/host/exec.ts'
import { identify } from '../../agent/identity.ts'
import { Leases } from '../../agent/lease/leases.ts'
import { openLedger } from '../../agent/ledger/ledger.ts'
import { LogRotation } from '../../agent/logs/rotation.ts'
import type { Ledger, ResolvedImage } from '../../agent/ports.ts'
import { reattach } from '../../agent/reattach.ts'
import { StatusOutbox } from '../../agent/status-outbox.ts'
import type { TaskRunner } from '../../agent/task-runner.ts'
import { Tasks } from '../../agent/tasks.ts'
import { type Clock, systemClock } from '../../base/clock.ts'
import type { Log, LogFields } from '../../base/log.ts'
import { systemRandom } from '../../base/random.ts'
import { builtinIsolators } from '../../isolators/builtin.ts'
import { type CgroupLayout, readCgroupLayout } from '../../isolators/cgroup2/layout.ts'
import { OciRuntime } from '../../isolators/runtime/oci/oci.ts'
import { completeMessage, type Init } from '../../proto/codec.ts'
import type { Launch, TaskDefinition } from '../../proto/gen/messages.ts'
import { newContainerId } from '../../proto/ids.ts'
import { makeBusyboxLayer } from './busybox-layer.ts'
import { leaseProgram } from './task-host.ts'

export interface TestEvent extends LogFields {
  readonly event: string
}

export interface RunningAgent {
  readonly ledger: Ledger
  readonly tasks: Tasks
  readonly runtime: OciRuntime
  readonly events: readonly TestEvent[]
  /** Orders a task of this command and resolves with its runner once it runs. */
  run(command: readonly string[], more?: Init<TaskDefinition>): Promise<TaskRunner>
  /** The runner of a container, as this agent knows it. */
  runner(containerId: string): TaskRunner
  /** Ends it as a crash would: nobody waits for anything any more, the containers go on. */
  crash(): Promise<void>
}

export interface AgentStart {
  readonly bootId?: string
  readonly clock?: Clock
}

/** A directory with a cgroup parent of its own, in which real agents follow one another. All is removed when the test ends. */
export class AgentHost {
  readonly directory = mkdtempSync(join(tmpdir(), 'hearth-'))
  readonly runDir = join(this.directory, 'run')
  readonly ledgerDir = join(this.directory, 'agent/ledger')
  readonly sandboxesDir = join(this.directory, 'agent/sandboxes')
  readonly cgroupParent = `/hearth-test-${randomBytes(4).toString('hex')}`
  readonly layout: CgroupLayout = readCgroupLayout()
  readonly #layer = makeBusyboxLayer(join(this.directory, 'layer'))
  #current: RunningAgent | undefined

  constructor(t: Test) {
    t.teardown(() => this.#end())
  }

  async start({ bootId = 'boot-1', clock = systemClock }: AgentStart = {}): Promise<RunningAgent> {
    await this.#current?.crash()
    const events: TestEvent[] = []
    const log = recording(events)
    const { layout, cgroupParent, runDir, sandboxesDir } = this
    const ledger = await openLedger({ log }, { directory: this.ledgerDir, reserveBytes: 1 })
    const isWhole = await identify({ ledger, clock, log }, runDir)
    const programs = { conmon: '/usr/bin/conmon', runc: '/usr/sbin/runc', crun: '/usr/bin/crun' }
    const runtime = new OciRuntime(
      { layout, sleep: systemClock.sleep },
      { runDir, shimDir: join(runDir, 'bin'), cgroupParent, programs }
    )
    const seccompProfile = '/usr/share/containers/seccomp.json'
    const isolators = builtinIsolators({
      trash: { take: () => false },
      layout,
      cgroupParent,
      seccompProfile,
      sleep: systemClock.sleep
    })
    const leases = new Leases(
      { clock, bootClock: systemBootClock, log, layout, place: undefined, epoch: () => ledger.view.head.epoch },
      { bootDir: runDir, bootId, cgroupParent, program: leaseProgram }
    )
    const outbox = new StatusOutbox({ ledger, clock, random: systemRandom, log })
    const images = { resolve: async () => this.#image() }
    const resolveUser = async () => ({ uid: 0, gid: 0, additionalGids: [] })
    const rotation = new LogRotation({ clock, log })
    let crashed = false
    // What the crashed agent was about to do must not happen any more.
    const guard = {
      watch: (rotated: Parameters<LogRotation['watch']>[0]) => (crashed ? undefined : rotation.watch(rotated)),
      unwatch: (path: string) => rotation.unwatch(path)
    }
    const tasks = new Tasks(
      {
        ledger,
        outbox,
        images,
        runtime,
        isolators,
        clock,
        bootClock: systemBootClock,
        exec: systemExec,
        log,
        rotation: guard,
        recorder: { causesOf: () => [], note: () => undefined },
        leases,
        resolveUser
      },
      {
        runDir,
        sandboxesDir,
        hostname: 'test',
        allowedMounts: [],
        allowUnconfined: false,
        agentId: ledger.view.head.agentId,
        bootId,
        launchesAtOnce: 4,
        maxTasks: 4_096,
        attemptsKept: 3,
        settled: AbortSignal.abort()
      },
      (error) => events.push({ event: 'broken', error })
    )
    await rotation.start()
    await runtime.start()
    await reattach({ ledger, runtime, tasks, log }, { runDir, bootId, isWhole })
    const runner = (containerId: string): TaskRunner => {
      const found = tasks.list().find((r) => r.containerId === containerId)
      if (found === undefined) throw new Error(`no container ${containerId}`)
      return found
    }
    const agent: RunningAgent = {
      ledger,
      tasks,
      runtime,
      events,
      runner,
      run: async (command, more = {}) => {
        const launch = launchOf(command, more)
        const answer = await tasks.launch(launch as Launch)
        if (answer?.accepted !== true) throw new Error(`refused: ${answer?.message}`)
        const found = runner(launch.containerId)
        await aborted(found.launched)
        return found
      },
      crash: async () => {
        if (this.#current === agent) this.#current = undefined
        crashed = true
        await rotation.stop()
        await runtime.stop()
        await ledger.close()
      }
    }
    this.#current = agent
    return agent
  }

  #image(): ResolvedImage {
    const process = { entrypoint: [], command: [], environment: ['PATH=/bin'], workingDirectory: '/', user: '', stopSignal: '' }
    return { reference: 'busybox', digest: 'sha256:0', layers: [this.#layer], mounts: [], ...process }
  }

  async #end(): Promise<void> {
    const agent = this.#current ?? (await this.start())
    await agent.tasks.stopAll(AbortSignal.timeout(30_000))
    await agent.tasks.idle()
    await agent.crash()
    rmSync(this.directory, { recursive: true, force: true })
  }
}

function launchOf(command: readonly string[], more: Init<TaskDefinition>): Init<Launch> & { readonly containerId: string } {
  const taskId = `t-${randomBytes(4).toString('hex')}`
  const task = { taskId, name: taskId, image: 'busybox', process: { arguments: command }, network: { mode: 'none' as const } }
  const group = { frameworkId: 'f', role: '*', tasks: [{ ...task, ...more }] }
  return completed({ epoch: 1, clusterId: 'c', group, attempt: 1, containerId: newContainerId(), specDigest: 'd' })
}

const completed = (launch: Init<Launch> & { readonly containerId: string }): Launch => completeMessage('Launch', launch)

export const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })

function recording(events: TestEvent[]): Log {
  const at = (bound: LogFields): Log => {
    const put = (fields: LogFields, event: string): void => void events.push({ ...bound, ...fields, event })
    return { debug: put, info: put, warn: put, error: put, child: (more) => at({ ...bound, ...more }) }
  }
  return at({})
}
