import { randomBytes } from 'node:crypto'
import { rmSync } from 'node:fs'
import type { Test } from 'tap'
import { identify } from '../../agent/identity.ts'
import { LogRotation } from '../../agent/logs/rotation.ts'
import type { Ledger } from '../../agent/ports.ts'
import { reattach } from '../../agent/reattach.ts'
import type { TaskRunner } from '../../agent/task-runner.ts'
import type { Tasks } from '../../agent/tasks.ts'
import { type Clock, systemClock } from '../../base/clock.ts'
import type { Log, LogFields } from '../../base/log.ts'
import type { CgroupLayout } from '../../isolators/cgroup2/layout.ts'
import type { Runtime } from '../../isolators/runtime/runtime.ts'
import { completeMessage, type Init } from '../../proto/codec.ts'
import type { Launch, TaskDefinition } from '../../proto/gen/messages.ts'
import { newContainerId } from '../../proto/ids.ts'
import { agentPlace, buildAgent, openPlaceLedger } from './agent-build.ts'

export interface TestEvent extends LogFields {
  readonly event: string
}

export interface RunningAgent {
  readonly ledger: Ledger
  readonly tasks: Tasks
  readonly runtime: Runtime
  readonly events: readonly TestEvent[]
  /** Orders a task of this command and resolves with its runner once it runs. */
  run(command: readonly string[], more?: Init<TaskDefinition>): Promise<TaskRunner>
  /** The runner of a container, as this agent knows it. */
  runner(containerId: string): TaskRunner
  /** Ends it as a crash would: nobody waits for anything any more, the containers go on. */
  crash(): Promise<void>
}

type Docker = Parameters<typeof buildAgent>[1]['docker']

export interface AgentStart {
  readonly bootId?: string
  readonly clock?: Clock
}

/** A directory with a cgroup parent of its own, in which real agents follow one another. All is removed when the test ends. */
export class AgentHost {
  readonly #place = agentPlace()
  readonly directory = this.#place.directory
  readonly runDir = this.#place.runDir
  readonly ledgerDir = this.#place.ledgerDir
  readonly sandboxesDir = this.#place.sandboxesDir
  readonly cgroupParent = this.#place.cgroupParent
  readonly layout: CgroupLayout = this.#place.layout
  #current: RunningAgent | undefined

  readonly #docker: Docker | undefined

  constructor(t: Test, docker?: Docker) {
    this.#docker = docker
    t.teardown(() => this.#end())
  }

  async start({ bootId = 'boot-1', clock = systemClock }: AgentStart = {}): Promise<RunningAgent> {
    await this.#current?.crash()
    const events: TestEvent[] = []
    const log = recording(events)
    const { runDir } = this
    const ledger = await openPlaceLedger(this.#place, log)
    const isWhole = await identify({ ledger, clock, log }, runDir)
    const rotation = new LogRotation({ clock, log })
    let crashed = false
    // What the crashed agent was about to do must not happen any more.
    const guard = {
      watch: (rotated: Parameters<LogRotation['watch']>[0]) => (crashed ? undefined : rotation.watch(rotated)),
      unwatch: (path: string) => rotation.unwatch(path)
    }
    const { runtime, tasks } = buildAgent(this.#place, {
      ...{ ledger, clock, log, bootId, rotation: guard },
      sleep: systemClock.sleep,
      ...(this.#docker === undefined ? {} : { docker: this.#docker }),
      agentId: ledger.view.head.agentId,
      limits: { launchesAtOnce: 4, maxTasks: 4_096, attemptsKept: 3 },
      onBroken: (error) => events.push({ event: 'broken', error })
    })
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
