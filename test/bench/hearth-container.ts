import { createHash } from 'node:crypto'
import { existsSync, watch } from 'node:fs'
import { join } from 'node:path'
import { Fault } from '../../base/fault.ts'
import { encodeMessage, type Init } from '../../proto/codec.ts'
import type { TaskDefinition, TaskGroup, TaskStatus } from '../../proto/gen/messages.ts'
import { rangeNumber } from '../../proto/id-ranges.ts'
import { newContainerId } from '../../proto/ids.ts'
import { isTerminal } from '../../proto/task-state.ts'
import type { AgentUnderTest } from './agent-under-test.ts'
import { imageName } from './busybox-image.ts'
import type { Prepared } from './contender.ts'
import { eventually } from './eventually.ts'
import { containerCommand, FirstByte, fifoMountPoint, launchPatienceMs } from './first-byte.ts'
import type { Span } from './trace.ts'

export type BenchRuntime = 'runc' | 'crun' | 'docker'

export const frameworkId = 'hearth-tasks'
/** All contenders run under the same limits. */
export const limits = { milliCpu: 1_000, memoryBytes: 64 * 1024 * 1024 } as const

/** One container of the agent under test, ordered over its link as a master would. */
export class HearthContainer implements Prepared {
  readonly id = newContainerId()
  /** Once it has started. */
  span: Span | undefined
  readonly #agent: AgentUnderTest
  readonly #runtime: BenchRuntime
  readonly #more: Init<TaskDefinition>
  readonly #byte: FirstByte
  readonly #unlisten: () => void
  readonly #failed = new AbortController()
  #state: TaskStatus['state'] = 'staging'
  #ordered = false
  #killed = false

  /** `more`: what its task definition says besides. */
  constructor(agent: AgentUnderTest, runtime: BenchRuntime, more: Init<TaskDefinition> = {}) {
    this.#agent = agent
    this.#runtime = runtime
    this.#more = more
    this.#byte = new FirstByte(join(agent.fifoDir, this.id))
    this.#unlisten = agent.master.listenTo(this.id, (event) => {
      if ('status' in event) this.#heard(event.status)
      else if (!event.answer.accepted) this.#refused(event.answer.message)
    })
  }

  /** `untimed` where the agent does not log when the order came. */
  async start(signal: AbortSignal, how: 'timed' | 'untimed' = 'timed'): Promise<number> {
    this.#ordered = true
    this.#agent.master.send('Launch', this.#launch())
    const patience = AbortSignal.any([signal, this.#failed.signal, AbortSignal.timeout(launchPatienceMs)])
    const firstNs = await this.#byte.wait(patience)
    if (how === 'untimed') return Number.NaN
    const receivedNs = this.#agent.receivedNs(this.id)
    this.span = { id: this.id, receivedNs: Number(receivedNs), firstByteNs: Number(firstNs) }
    return Number(firstNs - receivedNs) / 1e6
  }

  async remove(): Promise<void> {
    try {
      if (this.#ordered) {
        await this.awaitRunning()
        if (!this.#killed && !isOver(this.#state)) await this.kill()
        await this.forget()
        this.#ordered = false
      }
    } finally {
      this.letGo()
    }
  }

  /** Leaves the container as it is: whoever ends the agent under test ends it too. */
  letGo(): void {
    this.#unlisten()
    this.#byte.close()
  }

  /** A kill that comes before the agent has seen the container run would be another case: it undoes a launch. */
  async awaitRunning(): Promise<void> {
    await eventually(`${this.id} to run`, () => this.#state === 'running' || isOver(this.#state))
  }

  /** From the Kill frame to the removal's last step: the writable layer goes after process, bundle and cgroups. */
  kill(): Promise<void> {
    this.#killed = true
    const sandbox = this.#agent.sandboxOf(this.id)
    const left = [join(sandbox, 'upper'), join(sandbox, 'work'), this.#agent.bundleOf(this.id)]
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => settle(new Fault('timeout', `${this.id} was not removed`)), launchPatienceMs)
      const settle = (error?: Error): void => {
        clearTimeout(late)
        watcher.close()
        if (error === undefined) resolve()
        else reject(error)
      }
      const look = (): void => {
        if (!left.some((path) => existsSync(path))) settle()
      }
      const watcher = watch(sandbox, look)
      this.#agent.master.send('Kill', {
        epoch: this.#agent.master.epoch,
        frameworkId,
        taskId: this.id,
        attempt: 1,
        policy: { signal: 'SIGKILL', graceMs: 0 }
      })
      look()
    })
  }

  async forget(): Promise<void> {
    await eventually(`the end of ${this.id}`, () => isOver(this.#state))
    this.#agent.master.send('Forget', { epoch: this.#agent.master.epoch, frameworkId, taskId: this.id })
    const sandbox = this.#agent.sandboxOf(this.id)
    await eventually(`${sandbox} to go`, () => !existsSync(sandbox))
  }

  #refused(message: string): void {
    this.#ordered = false
    this.#failed.abort(new Fault('unavailable', `the agent refuses the launch: ${message}`))
  }

  #heard(status: TaskStatus): void {
    this.#state = status.state
    if (isOver(status.state)) this.#failed.abort(new Fault('unavailable', `${status.state}: ${status.message}`))
  }

  #launch() {
    const group: Init<TaskGroup> = {
      frameworkId,
      role: '*',
      ...(this.#more.walls?.userNamespace === true ? { ids: rangeNumber(0) } : {}),
      tasks: [
        {
          taskId: this.id,
          name: `bench-${this.id.slice(0, 8)}`,
          image: imageName,
          runtime: this.#runtime,
          ...this.#more,
          resources: [
            { name: 'cpus', kind: 'scalar', scalar: limits.milliCpu },
            { name: 'mem', kind: 'scalar', scalar: limits.memoryBytes }
          ],
          process: { arguments: containerCommand(`${fifoMountPoint}/${this.id}`) },
          mounts: [{ source: this.#agent.fifoDir, target: fifoMountPoint, readOnly: false }],
          network: { mode: 'none' }
        }
      ]
    }
    return {
      epoch: this.#agent.master.epoch,
      clusterId: this.#agent.master.clusterId,
      group,
      attempt: 1,
      containerId: this.id,
      specDigest: createHash('sha256').update(encodeMessage('TaskGroup', group)).digest('hex')
    } as const
  }
}

const isOver = (state: TaskStatus['state']): boolean => state !== 'unspecified_state' && isTerminal(state)
