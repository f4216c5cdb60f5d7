import type { Init } from '../proto/codec.ts'
import type { Messages } from '../proto/gen/messages.ts'
import type { WireName } from '../proto/wire.ts'

/** The live connection of one agent, as the rooms behind the door see it. */
export interface AgentLink {
  readonly agentId: string
  /** Milliseconds since the agent was last heard. */
  readonly silentMs: number
  /** Never waits. A link whose peer does not read is cut, not buffered without end. */
  send<K extends WireName>(kind: K, message: Init<Messages[K]>): void
  /** Asks one of the agent's local routes. Rejects with a Fault where the link is gone, full or the agent does not answer. */
  open(request: RelayRequest, signal: AbortSignal): Promise<RelayResponse>
  close(reason: string): void
}

export interface RelayRequest {
  readonly method: string
  /** Path and query of the agent's local API. */
  readonly path: string
  /** Small bodies travel with the request, a stream follows it. */
  readonly body: Uint8Array | AsyncIterable<Uint8Array>
}

export interface RelayResponse {
  readonly status: number
  readonly contentType: string
  /** Leaving the loop early tells the agent to stop. */
  readonly body: AsyncIterable<Uint8Array>
}
