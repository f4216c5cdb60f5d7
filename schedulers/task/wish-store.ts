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

/** A wish that is to be written for the first time. */
interface NamedWish {
  readonly taskId: string
  readonly init: Init<TaskWish>
}

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

  /** All of them or none. Rejects with `Fault('conflict')` where a name is in use, `invalid` where a definition is too large to keep. */
  async create(wishes: readonly NamedWish[]): Promise<void> {
    const rows = wishes.map(({ taskId, init }) => ({ taskId, value: encodeMessage('TaskWish', init) }))
    for (const { value } of rows) {
      if (value.length <= maxWishBytes) continue
      throw new Fault(
        'invalid',
        `the task's definition has ${value.length} bytes, the limit is ${maxWishBytes}: put large environments into a file`
      )
    }
    try {
      await this.#write(rows, 0)
    } catch (e) {
      if (!isFault(e, 'conflict')) throw e
      const taken = await this.#takenOf(rows.map((row) => row.taskId))
      throw new Fault(
        'conflict',
        `a task named ${taken} exists; remove it with hearth task rm ${taken} or choose another name`,
        { taskId: taken },
        e
      )
    }
  }

  /** Of a task that a node has and nobody remembers. Rejects with `Fault('conflict')` where the name is in use. */
  rebuilt(taskId: string, group: TaskGroup, createdAtMs: number): Promise<void> {
    return this.create([{ taskId, init: { group, createdAtMs } }])
  }

  async #takenOf(taskIds: readonly string[]): Promise<string> {
    const [first = ''] = taskIds
    if (taskIds.length === 1) return first
    for (const taskId of taskIds) {
      const key = keyPrefix + taskId
      if ((await this.#store.read(frameworkOfTasks, key)).some((row) => row.key === key)) return taskId
    }
    return first
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
        const value = encodeMessage('TaskWish', change(decodeMessage('TaskWish', row.value)))
        await this.#write([{ taskId, value }], row.version)
        return
      } catch (e) {
        if (!isFault(e, 'conflict') || tries === maxTries) throw e
      }
    }
  }

  async #write(rows: readonly { readonly taskId: string; readonly value: Uint8Array }[], version: number): Promise<void> {
    const conditions = rows.map(({ taskId }) => ({ key: keyPrefix + taskId, version }))
    const writes = rows.map(({ taskId, value }) => ({ key: keyPrefix + taskId, value, remove: false }))
    const written = await this.#store.transact(frameworkOfTasks, conditions, writes)
    for (const { taskId, value } of rows) this.#wished(taskId, decodeMessage('TaskWish', value), written.version)
  }
}
