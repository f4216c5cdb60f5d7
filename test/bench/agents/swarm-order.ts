import type { MasterPlace } from '../../../identity/places.ts'

/** What a swarm is started with. */
export interface SwarmOrder {
  readonly agents: number
  /** Where certificates are given out. */
  readonly door: MasterPlace
  /** Of role agent, good for as many uses. */
  readonly token: string
  /** `tls:HOST:PORT` of each master. */
  readonly masters: readonly string[]
}

/** From the bench. */
export type SwarmWish =
  | { readonly kind: 'connect' }
  | { readonly kind: 'ping'; readonly forMs: number }
  /** So many say nothing from now on, and leave their connections as they are. */
  | { readonly kind: 'mute'; readonly agents: number }

/** To the bench. */
export type SwarmWord =
  | { readonly kind: 'joined'; readonly agents: number }
  /** With the leader of that term, the newest that any has met. */
  | { readonly kind: 'registered'; readonly agents: number; readonly epoch: number }
  | { readonly kind: 'pinged'; readonly ms: readonly number[] }
  /** Their ids, and when it was, as Date.now() tells it. */
  | { readonly kind: 'muted'; readonly agents: readonly string[]; readonly atMs: number }
  | { readonly kind: 'broken'; readonly message: string }
