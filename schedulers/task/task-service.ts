import type { Clock } from '../../base/clock.ts'
import { Fault } from '../../base/fault.ts'
import { randomId } from '../../base/random.ts'
import { completeMessage, type Init } from '../../proto/codec.ts'
import type { KillPolicy, Resize, TaskDefinition } from '../../proto/gen/messages.ts'
import { anyRole, taskId as parseTaskId } from '../../proto/ids.ts'
import { checkLimits } from '../../proto/limits.ts'
import type { SchedulerLink } from '../../sdk/scheduler-link.ts'
import type { TaskBook } from './task-book.ts'
import type { TaskScheduler } from './task-scheduler.ts'
import { endingOf, frameworkOfTasks, isUnplaced, type TaskRecord, type TaskView, viewOf } from './task-view.ts'
import type { WishStore } from './wish-store.ts'

export interface TaskOrder {
  /** Its `name` becomes the task's id; empty: one is made up. */
  readonly definition: Init<TaskDefinition>
  readonly role: string
  readonly removeWhenDone: boolean
}

/** Several tasks that are placed, live and die together (docs/pods.md). */
interface PodOrder {
  /** Each with its name, in the order of the pod. */
  readonly definitions: readonly TaskDefinition[]
  readonly role: string
  readonly shareProcesses: boolean
  readonly removeWhenDone: boolean
}

interface TaskServiceParts {
  readonly link: Pick<SchedulerLink, 'resize'>
  readonly scheduler: TaskScheduler
  readonly wishes: WishStore
  readonly book: TaskBook
  readonly clock: Clock
}

const placementPatienceMs = 2_000
/** With living tasks at once: each round of offers weighs every role that waits against every node. */
const maxRoles = 100

/** What people ask of tasks; the operator API speaks to it. */
export class TaskService {
  readonly frameworkId = frameworkOfTasks
  readonly #parts: TaskServiceParts

  constructor(parts: TaskServiceParts) {
    this.#parts = parts
  }

  /**
   * Resolves once the wish is committed. Rejects with `Fault('conflict')` where the name is in use, `exhausted` where tasks of too
   * many roles live already.
   */
  async run(order: TaskOrder): Promise<TaskView> {
    this.#checkRole(order.role)
    const name = order.definition.name ?? ''
    const taskId = parseTaskId(name === '' ? inventName(order.definition.image ?? '') : name)
    const { scheduler, wishes, clock } = this.#parts
    await scheduler.gone(taskId)
    const definition = completeMessage('TaskDefinition', { ...order.definition, taskId, name: taskId })
    const group = { frameworkId: frameworkOfTasks, role: order.role, tasks: [definition] }
    const init = { group, createdAtMs: clock.wallMs(), removeWhenDone: order.removeWhenDone }
    await wishes.create([{ taskId, init }])
    return viewOf(this.#find(taskId))
  }

  /** As `run`, for all tasks of a pod at once: their names are ids already. */
  async runPod({ definitions, role, shareProcesses, removeWhenDone }: PodOrder): Promise<readonly TaskView[]> {
    this.#checkRole(role)
    const { scheduler, wishes, clock } = this.#parts
    const podTaskIds = definitions.map(({ taskId }) => parseTaskId(taskId))
    for (const taskId of podTaskIds) await scheduler.gone(taskId)
    const createdAtMs = clock.wallMs()
    const named = definitions.map((definition) => {
      const { taskId } = definition
      const group = { frameworkId: frameworkOfTasks, role, tasks: [definition], shareProcesses }
      return { taskId, init: { group, createdAtMs, removeWhenDone, podTaskIds } }
    })
    await wishes.create(named)
    return podTaskIds.map((taskId) => viewOf(this.#find(taskId)))
  }

  list(): readonly TaskView[] {
    return [...this.#parts.book.records()].map(viewOf)
  }

  get(taskId: string): TaskView | undefined {
    const record = this.#parts.book.get(taskId)
    return record === undefined ? undefined : viewOf(record)
  }

  /** Resolves once the wish for its end is committed; of an ended task nothing changes. Without a policy, the task's own counts. */
  async kill(taskId: string, policy: KillPolicy | undefined): Promise<TaskView> {
    const record = this.#find(taskId)
    if (endingOf(record) === null) {
      const own = record.definition.killPolicy
      this.#parts.scheduler.killAgain(taskId)
      await this.#parts.wishes.kill(taskId, policy ?? own ?? { signal: '', graceMs: 10_000 })
    }
    return viewOf(this.#parts.book.get(taskId) ?? record)
  }

  /**
   * Other resources and limits, in place of all it has. Of a task that waits for a node only the wish changes; of one that runs its
   * node comes first (sdk/scheduler-link.ts, `resize`). Rejects with `Fault('conflict')` for one that has ended.
   */
  async update(taskId: string, resize: Resize): Promise<TaskView> {
    const { link, wishes, book } = this.#parts
    const record = this.#find(taskId)
    if (endingOf(record) !== null)
      throw new Fault('conflict', `task ${taskId} has ended: run it again with other limits`, { taskId })
    if (record.launching) throw new Fault('unavailable', `task ${taskId} is just being placed: try again in a moment`, { taskId })
    checkLimits(resize)
    if (!isUnplaced(record)) await link.resize(frameworkOfTasks, taskId, resize)
    await wishes.redefine(taskId, resize)
    return viewOf(book.get(taskId) ?? record)
  }

  /** Rejects with `Fault('conflict')` for one that has not ended, unless forced: then it is killed first. */
  async remove(taskId: string, force: boolean, signal: AbortSignal): Promise<void> {
    const record = this.#find(taskId)
    if (endingOf(record) === null) {
      const { state } = viewOf(record)
      if (!force) {
        throw new Fault(
          'conflict',
          `task ${taskId} is ${state}; kill it first with hearth task kill ${taskId}, or force its removal`
        )
      }
      await this.kill(taskId, { signal: 'SIGKILL', graceMs: 0 })
      if (state === 'unreachable') {
        throw new Fault('unavailable', `the node of task ${taskId} is out of reach; the task is killed when it is back`, {
          taskId
        })
      }
      await this.waitEnded(taskId, signal)
    }
    await this.#parts.scheduler.remove(taskId)
  }

  async waitEnded(taskId: string, signal: AbortSignal): Promise<TaskView> {
    const record = this.#find(taskId)
    return endingOf(record) === null ? await this.#parts.book.ended(taskId, signal) : viewOf(record)
  }

  /** The task as soon as it runs or has ended; after 2 s also while no node has taken it, for which its message gives the reason. */
  async waitStarted(taskId: string, signal: AbortSignal): Promise<TaskView> {
    const settled = new AbortController()
    const either = AbortSignal.any([signal, settled.signal])
    const started = new Promise<void>((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
      const look = (task: TaskView): void => {
        const waits = task.state === 'staging' || task.state === 'starting' || task.state === 'unknown'
        const hasTried = (task.status?.earlierAttempts.length ?? 0) > 0
        if (task.taskId === taskId && (!waits || hasTried)) resolve()
      }
      this.#parts.book.watch(look, either)
      look(viewOf(this.#find(taskId)))
    })
    const unplaced = this.#parts.clock
      .sleep(placementPatienceMs, either)
      .then(() => (this.#find(taskId).status === null ? undefined : started))
    try {
      await Promise.race([started, unplaced])
      return viewOf(this.#find(taskId))
    } finally {
      settled.abort()
      unplaced.catch(() => undefined) // its sleep was ended above
      started.catch(() => undefined) // the client is gone; the race has told
    }
  }

  watch(onChange: (task: TaskView, removed: boolean) => void, signal: AbortSignal): void {
    this.#parts.book.watch(onChange, signal)
  }

  #checkRole(role: string): void {
    if (role === anyRole) return
    const living = new Set<string>()
    for (const record of this.#parts.book.records()) if (endingOf(record) === null) living.add(record.role)
    if (living.has(role) || living.size < maxRoles) return
    throw new Fault('exhausted', `tasks of ${maxRoles} roles live already: use the role of one of them, or wait for their ends`)
  }

  #find(taskId: string): TaskRecord {
    const record = this.#parts.book.get(taskId)
    if (record === undefined) throw new Fault('not-found', `there is no task named ${taskId}`, { taskId })
    return record
  }
}

/** `redis-1f0c93aa` for the image `docker.io/library/redis:7`. */
function inventName(image: string): string {
  const last = image.split('@')[0]?.split('/').at(-1)?.split(':')[0] ?? ''
  const word = last
    .toLowerCase()
    .replace(/[^a-z0-9-]/g, '')
    .slice(0, 40)
  return `${word === '' ? 'task' : word}-${randomId().slice(0, 8)}`
}
