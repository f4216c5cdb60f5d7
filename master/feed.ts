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

  constructor(parts: FeedParts) {
    this.#parts = parts
  }

  async start(): Promise<void> {
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
    const { frameworks, changes, removals } = this.#parts
    frameworks.applied(change)
    if (change.answer.refused) return
    const { registerAgent, setAgentCondition, removeNode } = change.command
    if (removeNode !== null) removals.removed(removeNode.nodeId)
    const agentId = registerAgent?.agentId ?? setAgentCondition?.agentId ?? removeNode?.nodeId
    if (agentId !== undefined) changes.touched(agentId)
  }
}
