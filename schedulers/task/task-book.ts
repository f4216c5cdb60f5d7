import { endingOf, type TaskRecord, type TaskView, viewOf } from './task-view.ts'

type Watcher = (task: TaskView, removed: boolean) => void

/** The records of one scheduler, and who wants to know of their changes. */
export class TaskBook {
  readonly #records = new Map<string, TaskRecord>()
  readonly #watchers = new Set<Watcher>()
  readonly #waiting = new Map<string, Set<(task: TaskView) => void>>()

  get size(): number {
    return this.#records.size
  }

  records(): Iterable<TaskRecord> {
    return this.#records.values()
  }

  get(taskId: string): TaskRecord | undefined {
    return this.#records.get(taskId)
  }

  put(record: TaskRecord): void {
    const { taskId } = record
    this.#records.set(taskId, record)
    const view = viewOf(record)
    for (const watcher of this.#watchers) watcher(view, false)
    if (endingOf(record) === null) return
    const waiting = this.#waiting.get(taskId)
    this.#waiting.delete(taskId)
    for (const tell of waiting ?? []) tell(view)
  }

  remove(taskId: string): void {
    const record = this.#records.get(taskId)
    if (record === undefined) return
    this.#records.delete(taskId)
    const view = viewOf(record)
    for (const watcher of this.#watchers) watcher(view, true)
    const waiting = this.#waiting.get(taskId)
    this.#waiting.delete(taskId)
    for (const tell of waiting ?? []) tell(view)
  }

  watch(watcher: Watcher, signal: AbortSignal): void {
    if (signal.aborted) return
    this.#watchers.add(watcher)
    signal.addEventListener('abort', () => this.#watchers.delete(watcher), { once: true })
  }

  /** Resolves with the task as it stood when it ended or was removed. */
  ended(taskId: string, signal: AbortSignal): Promise<TaskView> {
    return new Promise((resolve, reject) => {
      const waiting = this.#waiting.get(taskId) ?? new Set()
      const tell = (task: TaskView): void => {
        signal.removeEventListener('abort', leave)
        resolve(task)
      }
      const leave = (): void => {
        waiting.delete(tell)
        if (waiting.size === 0 && this.#waiting.get(taskId) === waiting) this.#waiting.delete(taskId)
        reject(signal.reason as Error)
      }
      if (signal.aborted) {
        reject(signal.reason as Error)
        return
      }
      this.#waiting.set(taskId, waiting.add(tell))
      signal.addEventListener('abort', leave, { once: true })
    })
  }
}
