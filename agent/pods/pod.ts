import type { Log } from '../../base/log.ts'
import type { PodSeat } from '../../proto/gen/messages.ts'
import { partOf } from '../../proto/pods.ts'
import type { LedgerTask, LedgerView } from '../ports.ts'
import { podStep, type Seated } from './order.ts'

/** A container of the pod, as far as its pod has to do with it. */
interface Member {
  readonly containerId: string
  endWithPod(why: string): void
}

interface Parts {
  readonly ledger: { readonly view: Pick<LedgerView, 'tasks'> }
  readonly log: Log
}

/**
 * The containers of one pod: lets each begin when it is its turn, and ends them together. It remembers nothing that the ledger does
 * not tell, so that the next agent comes to the same decisions.
 */
export class Pod {
  readonly #parts: Parts
  readonly #seat: PodSeat
  readonly #members = new Map<string, Member>()
  readonly #waiting = new Map<string, () => void>()
  /** Told to end by this agent: a second time would begin their grace anew. */
  readonly #told = new Set<string>()

  constructor(parts: Parts, seat: PodSeat) {
    this.#parts = parts
    this.#seat = seat
  }

  /** To be followed by a `look`, once its row is in the ledger. */
  add(member: Member): void {
    this.#members.set(member.containerId, member)
  }

  /** The tasks of its containers are forgotten, all of them. */
  get isForgotten(): boolean {
    return this.#seat.containerIds.every((id) => !this.#parts.ledger.view.tasks.has(id))
  }

  /** Resolves when the container may begin. Rejects with the signal's reason. */
  async turn(containerId: string, signal: AbortSignal): Promise<void> {
    const turn = new Promise<void>((resolve, reject) => {
      const stop = (): void => {
        this.#waiting.delete(containerId)
        reject(signal.reason as Error)
      }
      signal.addEventListener('abort', stop, { once: true })
      this.#waiting.set(containerId, () => {
        signal.removeEventListener('abort', stop)
        resolve()
      })
      if (signal.aborted) stop()
    })
    this.look()
    await turn
  }

  /** Something of one of its containers has come into the ledger. */
  look(): void {
    const sandbox = this.#seated(this.#seat.sandboxId)
    const { begin, end } = podStep(
      sandbox,
      this.#seat.containerIds.flatMap((id) => this.#seated(id) ?? [])
    )
    for (const containerId of begin) this.#begin(containerId)
    for (const { containerId, why } of end) this.#end(containerId, why)
  }

  #begin(containerId: string): void {
    const go = this.#waiting.get(containerId)
    this.#waiting.delete(containerId)
    go?.()
  }

  #end(containerId: string, why: string): void {
    const member = this.#members.get(containerId)
    if (member === undefined || this.#told.has(containerId)) return
    this.#told.add(containerId)
    this.#parts.log.info({ containerId, why }, 'pod.container_ended')
    member.endWithPod(why)
  }

  #seated(containerId: string): Seated | undefined {
    const task = this.#parts.ledger.view.tasks.get(containerId)
    return task === undefined ? undefined : seatedOf(containerId, task)
  }
}

function seatedOf(containerId: string, { row, latest, kill }: LedgerTask): Seated {
  const task = row.group?.tasks[0]
  return {
    containerId,
    taskId: task?.taskId ?? '',
    part: task === undefined ? 'main' : partOf(task),
    isProbed: (task?.probes.length ?? 0) > 0,
    latest,
    killAsked: kill !== null
  }
}
