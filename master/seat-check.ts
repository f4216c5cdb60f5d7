import { isFault } from '../base/fault.ts'
import type { AgentLink } from './link.ts'

/** What becomes of an agent that registers under an id whose seat is taken. */
export type SeatVerdict =
  /** It is the same process by another connection, or the old one is gone: the seat is free. */
  | 'free'
  /** The agent in the seat has answered, or goes on beating: two of them have the same id. */
  | 'taken'

export interface SeatQuestion {
  readonly seated: AgentLink
  /** Resolves when the link in the seat is closed. */
  readonly left: Promise<void>
  /** Resolves when a link that says nothing would have been closed for its silence. */
  readonly silence: Promise<void>
}

/**
 * A broken connection can look alive to us for some seconds, so that being connected proves nothing: the agent in the seat is
 * asked. Any answer proves that it lives, and so does a connection that outlasts the time in which a silent one is closed.
 */
export async function askSeat({ seated, left, silence }: SeatQuestion, signal: AbortSignal): Promise<SeatVerdict> {
  const over = new AbortController()
  const asked = seated
    .open({ method: 'GET', path: '/v1/tasks', body: new Uint8Array(0) }, AbortSignal.any([signal, over.signal]))
    .then((): SeatVerdict => 'taken')
    .catch((e: unknown): Promise<SeatVerdict> => {
      // No answer is no proof of either: the silence decides.
      if (isFault(e) || over.signal.aborted || signal.aborted) return new Promise<never>(() => undefined)
      throw e
    })
  try {
    return await Promise.race([asked, left.then((): SeatVerdict => 'free'), silence.then((): SeatVerdict => 'taken')])
  } finally {
    over.abort()
  }
}
