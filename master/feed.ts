import type { Service } from '../base/service.ts'
import type { Frameworks } from './frameworks.ts'
import type { NodeChanges } from './node-changes.ts'
import type { Removals } from './removals.ts'
import type { AppliedChange, Replica } from './replica.ts'
import type { ClusterState } from './state/cluster.ts'

interface FeedParts {
  readonly replica: Pick<Replica, 'changes'> & { readonly state: ClusterState }
  readonly frameworks: Frameworks
  readonly changes: Pick<NodeChanges, 'touched'>
  readonly removals: Pick<Removals, 'removed'>
}

/** Carries what was committed from the replica to the rooms that live off it, in order. */
export class Feed implements Service {
  readonly name = 'feed'
  readonly #parts: FeedParts
  readonly #closing = new AbortController()
  #loop: Promise<void> = Promise.resolve()
  #passed = 0
  readonly #waiting: { readonly index: number; readonly go: () => void }[] = []

  constructor(parts: FeedParts) {
    this.#parts = parts
  }

  /** Resolves when the rooms that live off the state know of everything up to this entry; rejects when the signal aborts. */
  reached(index: number, signal: AbortSignal): Promise<void> {
    if (index <= this.#passed) return Promise.resolve()
    return new Promise((resolve, reject) => {
      const leave = (): void => reject(signal.reason as Error)
      signal.addEventListener('abort', leave, { once: true })
      const go = (): void => {
        signal.removeEventListener('abort', leave)
        // What was put into mailboxes is taken out before the next turn.
        setImmediate(resolve)
      }
      this.#waiting.push({ index, go })
    })
  }

  async start(): Promise<void> {
    this.#passed = this.#parts.replica.state.index
    this.#loop = this.#run(this.#parts.replica.state.index + 1)
  }

  async stop(): Promise<void> {
    this.#closing.abort()
    await this.#loop
  }

  async #run(from: number): Promise<void> {
    const { signal } = this.#closing
    try {
      for await (const change of this.#parts.replica.changes(from, signal)) this.#pass(change)
    } catch (e) {
      if (!signal.aborted) throw e
    }
  }

  #pass(change: AppliedChange): void {
    this.#parts.frameworks.applied(change)
    if (!change.answer.refused) this.#told(change)
    this.#passed = change.index
    const waiting = this.#waiting.splice(0)
    for (const wait of waiting) {
      if (wait.index <= change.index) wait.go()
      else this.#waiting.push(wait)
    }
  }

  #told({ command }: AppliedChange): void {
    const { changes, removals } = this.#parts
    const { registerAgent, setAgentCondition, removeNode } = command
    if (removeNode !== null) removals.removed(removeNode.nodeId)
    const agentId = registerAgent?.agentId ?? setAgentCondition?.agentId ?? removeNode?.nodeId
    if (agentId !== undefined) changes.touched(agentId)
  }
}
