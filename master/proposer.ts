import type { Clock } from '../base/clock.ts'
import { Fault, type FaultCode, isFaultCode } from '../base/fault.ts'
import { randomId } from '../base/random.ts'
import type { Answer } from '../proto/gen/messages.ts'
import type { ProposeOutcome, Replica, ReplicaCommand } from './replica.ts'

interface ProposerParts {
  readonly replica: Pick<Replica, 'propose'>
  readonly clock: Clock
}

interface ProposerConfig {
  /** Commands in flight; each has a session of its own, since a session remembers only its last answer. */
  readonly sessions: number
  /** Commands that may wait for a session. More are refused. */
  readonly waiting: number
  /** Pause before a command whose fate is unknown is repeated. */
  readonly repeatMs: number
}

interface Session {
  readonly id: string
  seq: number
}

export interface Applied {
  readonly index: number
  readonly answer: Answer
}

/** Times that a command is offered again to a log that takes none just now. */
const refusalsMost = 20

const faultCodes: Readonly<Record<'overloaded' | 'too-large' | 'disk-full' | 'stopping', FaultCode>> = {
  overloaded: 'exhausted',
  'too-large': 'invalid',
  'disk-full': 'unavailable',
  stopping: 'unavailable'
}

/**
 * Turns the replica's four answers into one: applied, or a Fault. `unknown` is repeated under the same session and seq, so the
 * command takes effect at most once. A signal that aborts ends the wait and never the command; its session is not used again.
 */
export class Proposer {
  readonly #parts: ProposerParts
  readonly #config: ProposerConfig
  readonly #idle: Session[] = []
  readonly #queue: { readonly take: (session: Session) => void; readonly fail: (why: Error) => void }[] = []
  #made = 0

  constructor(parts: ProposerParts, config: ProposerConfig) {
    this.#parts = parts
    this.#config = config
  }

  /** Rejects with a Fault where the command was refused, by the replica or by the state it would have changed. */
  async propose(command: ReplicaCommand, signal: AbortSignal): Promise<Applied> {
    const session = await this.#take(signal)
    let settled = false
    try {
      const applied = await this.#until(session, command, signal)
      settled = true
      return applied
    } catch (e) {
      settled = e instanceof Fault
      throw e
    } finally {
      this.#giveBack(settled ? session : this.#fresh())
    }
  }

  async #until(session: Session, command: ReplicaCommand, signal: AbortSignal): Promise<Applied> {
    session.seq += 1
    let isUnknown = false
    for (let refusals = 0; ; ) {
      const outcome = await this.#parts.replica.propose(session.id, session.seq, command, signal)
      if (isUnknown && (outcome.kind === 'not-leader' || outcome.kind === 'refused')) throw decidedElsewhere()
      // While leadership is handed over, and for moments, the log takes nothing.
      const isMomentary = outcome.kind === 'refused' && outcome.reason === 'overloaded' && refusals < refusalsMost
      if (isMomentary) refusals += 1
      else {
        const applied = settle(outcome)
        if (applied !== undefined) return applied
        isUnknown = true
      }
      signal.throwIfAborted()
      await this.#parts.clock.sleep(this.#config.repeatMs, signal)
    }
  }

  #take(signal: AbortSignal): Promise<Session> {
    const idle = this.#idle.pop()
    if (idle !== undefined) return Promise.resolve(idle)
    if (this.#made < this.#config.sessions) {
      this.#made += 1
      return Promise.resolve(this.#fresh())
    }
    if (this.#queue.length >= this.#config.waiting) {
      return Promise.reject(new Fault('exhausted', 'the master has too many changes in flight; try again in a moment'))
    }
    return new Promise((take, fail) => {
      const row = {
        take: (session: Session) => {
          signal.removeEventListener('abort', leave)
          take(session)
        },
        fail
      }
      const leave = (): void => {
        this.#queue.splice(this.#queue.indexOf(row), 1)
        fail(signal.reason as Error)
      }
      signal.addEventListener('abort', leave, { once: true })
      this.#queue.push(row)
    })
  }

  #giveBack(session: Session): void {
    const next = this.#queue.shift()
    if (next === undefined) this.#idle.push(session)
    else next.take(session)
  }

  #fresh(): Session {
    return { id: randomId(), seq: 0 }
  }
}

/** Undefined: the fate of the command is unknown. */
function settle(outcome: ProposeOutcome): Applied | undefined {
  switch (outcome.kind) {
    case 'applied': {
      const { answer, index } = outcome
      if (answer.refused) throw new Fault(isFaultCode(answer.code) ? answer.code : 'invalid', answer.message)
      return { index, answer }
    }
    case 'refused':
      throw new Fault(faultCodes[outcome.reason], outcome.message)
    case 'not-leader':
      throw new Fault('not-leader', `this master does not lead; ask ${outcome.hint === '' ? 'another one' : outcome.hint}`)
    case 'unknown':
      return undefined
  }
}

/** Never a refusal of the repeat, which would say that nothing has happened: the first try may have. */
function decidedElsewhere(): Fault {
  const message =
    'this master leads no more, or takes nothing just now; the change may have taken effect or not: look before you repeat it'
  return new Fault('unavailable', message, { isUnknown: true })
}
