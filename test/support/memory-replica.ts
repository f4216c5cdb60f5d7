import type { AppliedChange, ProposeOutcome, Replica, ReplicaCommand } from '../../master/replica.ts'
import { applyOnce } from '../../master/state/apply.ts'
import { ClusterState } from '../../master/state/cluster.ts'
import { completeMessage } from '../../proto/codec.ts'

/** A replica without a disk: every command is applied at once. `fate` may turn single answers into another one. */
export class MemoryReplica implements Replica {
  readonly state = new ClusterState()
  readonly leadership = {
    term: 1,
    leading: true,
    watch: (onChange: (change: { readonly kind: 'gained' | 'lost'; readonly term: number }) => void) =>
      onChange({ kind: 'gained', term: 1 })
  }
  readonly changed: AppliedChange[] = []
  /** What happens to the next commands; `swallow` applies and answers unknown, `lose` does not even apply. */
  readonly fates: ('apply' | 'swallow' | 'lose')[] = []
  #wake: (() => void)[] = []

  async propose(session: string, seq: number, command: ReplicaCommand): Promise<ProposeOutcome> {
    await Promise.resolve()
    const fate = this.fates.shift() ?? 'apply'
    if (fate === 'lose') return { kind: 'unknown' }
    const full = completeMessage('Command', { ...command, session, seq, atMs: this.state.atMs + 1 })
    const index = this.state.index + 1
    const { answer } = applyOnce(this.state, full, index)
    this.changed.push({ index, term: 1, command: full, answer })
    for (const wake of this.#wake.splice(0)) wake()
    return fate === 'swallow' ? { kind: 'unknown' } : { kind: 'applied', index, term: 1, answer }
  }

  async read(): Promise<number> {
    return this.state.index
  }

  async *changes(fromIndex: number, signal: AbortSignal): AsyncGenerator<AppliedChange> {
    for (let next = fromIndex; !signal.aborted; ) {
      const change = this.changed.find((c) => c.index === next)
      if (change === undefined) await this.#more(signal)
      else {
        next += 1
        yield change
      }
    }
  }

  #more(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        signal.removeEventListener('abort', wake)
        resolve()
      }
      signal.addEventListener('abort', wake, { once: true })
      this.#wake.push(wake)
    })
  }
}
