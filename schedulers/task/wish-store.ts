import { Fault, isFault } from '../../base/fault.ts'
import { decodeMessage, encodeMessage, type Init } from '../../proto/codec.ts'
import type { KillPolicy, TaskDefinition, TaskGroup, TaskStatus, TaskWish } from '../../proto/gen/messages.ts'
import type { SchedulerStore } from '../../sdk/scheduler-link.ts'
import { frameworkOfTasks } from './task-view.ts'

export const keyPrefix = 'task/'

/** Tries of a change that others keep crossing. */
const maxTries = 8
/** A little below what the store takes for one value. */
const maxWishBytes = 1024 * 1024 - 4096

type Wished = (taskId: string, wish: TaskWish, version: number) => void

/** The wishes in the replicated store. Each change is a compare-and-set of one row. */
export class WishStore {
  readonly #store: SchedulerStore
  #wished: Wished = () => undefined

  constructor(store: SchedulerStore) {
    this.#store = store
  }

  /** Who hears of a wish as soon as it is committed. */
  onWished(wished: Wished): void {
    this.#wished = wished
  }

  /** Rejects with `Fault('conflict')` where the name is in use, `invalid` where the definition is too large to keep. */
  async create(taskId: string, init: Init<TaskWish>): Promise<void> {
    const value = encodeMessage('TaskWish', init)
    if (value.length > maxWishBytes) {
      throw new Fault(
        'invalid',
        `the task's definition has ${value.length} bytes, the limit is ${maxWishBytes}: put large environments into a file`
      )
    }
    try {
      await this.#write(taskId, 0, value)
    } catch (e) {
      if (!isFault(e, 'conflict')) throw e
      throw new Fault(
        'conflict',
        `a task named ${taskId} exists; remove it with hearth task rm ${taskId} or choose another name`,
        { taskId },
        e
      )
    }
  }

  /** Of a task that a node has and nobody remembers. Rejects with `Fault('conflict')` where the name is in use. */
  rebuilt(taskId: string, group: TaskGroup, createdAtMs: number): Promise<void> {
    return this.create(taskId, { group, createdAtMs })
  }

  kill(taskId: string, kill: KillPolicy): Promise<void> {
    return this.#change(taskId, (wish) => ({ ...wish, kill }))
  }

  /** Other resources and limits; what is said of neither stays. */
  redefine(taskId: string, { resources, limits }: Pick<TaskDefinition, 'resources' | 'limits'>): Promise<void> {
    return this.#change(taskId, (wish) => {
      if (wish.group === null) return wish
      const tasks = wish.group.tasks.map((task) => ({ ...task, resources, limits }))
      return { ...wish, group: { ...wish.group, tasks } }
    })
  }

  /** Of a task that no node ever had. */
  end(taskId: string, ending: TaskStatus): Promise<void> {
    return this.#change(taskId, (wish) => (wish.ending === null ? { ...wish, ending } : wish))
  }

  async remove(taskId: string): Promise<void> {
    await this.#store.transact(frameworkOfTasks, [], [{ key: keyPrefix + taskId, value: new Uint8Array(), remove: true }])
  }

  async #change(taskId: string, change: (wish: TaskWish) => TaskWish): Promise<void> {
    const key = keyPrefix + taskId
    for (let tries = 1; ; tries += 1) {
      const rows = await this.#store.read(frameworkOfTasks, key)
      const row = rows.find((r) => r.key === key)
      if (row === undefined) throw new Fault('not-found', `there is no task named ${taskId}`, { taskId })
      try {
        await this.#write(taskId, row.version, encodeMessage('TaskWish', change(decodeMessage('TaskWish', row.value))))
        return
      } catch (e) {
        if (!isFault(e, 'conflict') || tries === maxTries) throw e
      }
    }
  }

  async #write(taskId: string, version: number, value: Uint8Array): Promise<void> {
    const key = keyPrefix + taskId
    const conditions = [{ key, version }]
    const written = await this.#store.transact(frameworkOfTasks, conditions, [{ key, value, remove: false }])
    this.#wished(taskId, decodeMessage('TaskWish', value), written.version)
  }
}
