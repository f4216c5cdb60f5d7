import { Fault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import type { Isolator, IsolatorRequest, Usage } from '../isolators/isolator.ts'
import type { Runtime } from '../isolators/runtime/runtime.ts'
import type { Resize, TaskDefinition, TaskLimits, TaskRow } from '../proto/gen/messages.ts'
import { capabilitiesFor, checkLimits } from '../proto/limits.ts'
import { checkResource, type Resources, scalarOf } from '../proto/resources.ts'
import type { Ledger } from './ports.ts'
import { bareRequest, type RequestConfig } from './task-request.ts'

interface Parts {
  readonly ledger: Pick<Ledger, 'append'>
  readonly isolators: readonly Isolator[]
  readonly runtime: Pick<Runtime, 'check'>
  readonly log: Log
}

/** A running attempt, as a change of its limits needs to know it. */
export interface Resizable {
  readonly containerId: string
  readonly taskId: string
  readonly row: TaskRow
  /** Of the container. */
  readonly state: string
}

/** What the task has from now on. */
interface Resized {
  readonly resources: Resources
  readonly limits: TaskLimits | null
}

/** Other limits for running tasks: recorded first, so that an agent that dies in between puts them up as the next one. */
export class Resizes {
  readonly #parts: Parts
  readonly #config: RequestConfig
  /** One change of a task after the other. */
  readonly #under = new Map<string, Promise<unknown>>()

  constructor(parts: Parts, config: RequestConfig) {
    this.#parts = parts
    this.#config = config
  }

  /**
   * Resolves once they hold. Rejects with `Fault('conflict')` where the task does not run, or uses more than it is to have and it is
   * not forced; `invalid` or `unsupported` for limits that cannot be. A rejection has changed nothing.
   */
  async apply(task: Resizable, wanted: Resize, signal: AbortSignal): Promise<Resized> {
    const before = this.#under.get(task.containerId) ?? Promise.resolve()
    const changing = before.then(() => this.#apply(task, wanted, signal))
    const over = changing.catch(() => undefined) // its caller hears of it
    this.#under.set(task.containerId, over)
    try {
      return await changing
    } finally {
      if (this.#under.get(task.containerId) === over) this.#under.delete(task.containerId)
    }
  }

  async #apply(task: Resizable, { resources, limits, force }: Resize, signal: AbortSignal): Promise<Resized> {
    const old = task.row.group?.tasks[0]
    if (old === undefined || task.state !== 'running')
      throw new Fault('conflict', `task ${task.taskId} does not run, so its limits cannot be changed`, { state: task.state })
    const next: TaskDefinition = { ...old, resources, limits }
    this.#check(old, next)
    const request = this.#request(task, next)
    this.#parts.runtime.check(request, 'resize')
    if (!force) checkUse(await this.#usage(this.#request(task, old), signal), request)
    await this.#record(task, next)
    try {
      await this.#update(request, signal)
    } catch (cause) {
      await this.#record(task, old)
      const again = this.#request(task, old)
      await this.#update(again, new AbortController().signal).catch((error: unknown) => {
        this.#parts.log.error({ error, containerId: task.containerId }, 'task.limits_not_put_back')
      })
      throw cause
    }
    this.#parts.log.info({ containerId: task.containerId, taskId: task.taskId }, 'task.resized')
    return { resources, limits }
  }

  #check(old: TaskDefinition, next: TaskDefinition): void {
    for (const resource of next.resources) checkResource(resource)
    checkLimits(next)
    for (const name of capabilitiesFor(next)) {
      const why = this.#config.missing(name)
      if (why !== undefined) throw new Fault('unsupported', `this node has no ${name}: ${why}`)
    }
    if (scalarOf(old.resources, 'disk') !== scalarOf(next.resources, 'disk'))
      throw new Fault('unsupported', 'the disk limit of a running task cannot be changed: start it again with another')
  }

  #request(task: Resizable, definition: TaskDefinition): IsolatorRequest {
    return bareRequest(this.#config, task.containerId, definition)
  }

  async #update(request: IsolatorRequest, signal: AbortSignal): Promise<void> {
    for (const isolator of this.#parts.isolators) await isolator.update?.(request, signal)
  }

  async #usage(request: IsolatorRequest, signal: AbortSignal): Promise<Usage> {
    const cgroup = this.#parts.isolators.find(({ name }) => name === 'cgroup')
    return (await cgroup?.usage?.(request, signal)) ?? {}
  }

  /** The row takes the place of the one before: every version reads it, and the next attempt begins with it. */
  #record({ row }: Resizable, definition: TaskDefinition): Promise<void> {
    const group = row.group && { ...row.group, tasks: [definition] }
    return this.#parts.ledger.append({ task: { ...row, group } }, 'disk')
  }
}

const mebibytes = (bytes: number): string => `${Math.ceil(bytes / 1024 ** 2)} MiB`

/** What the kernel can take back at once is not counted as used. */
function checkUse({ memoryBytes = 0, cacheBytes = 0, pids = 0 }: Usage, { limits }: IsolatorRequest): void {
  const used = memoryBytes - cacheBytes
  const hint = 'let it give some back first, or repeat with --force'
  if (limits.memoryBytes > 0 && used > limits.memoryBytes) {
    const say = `the task uses ${mebibytes(used)} of memory, more than the ${mebibytes(limits.memoryBytes)} it is to have: ${hint}`
    throw new Fault('conflict', say, { usedBytes: used })
  }
  if (pids > limits.pidsMax) {
    const say = `the task has ${pids} processes and threads, more than the ${limits.pidsMax} it is to have: ${hint}`
    throw new Fault('conflict', say, { pids })
  }
}
