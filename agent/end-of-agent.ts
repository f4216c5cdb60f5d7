import { Fault, faultTable, isFault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'

/** Why and when this process ends: a signal, or a part that is broken. */
export class EndOfAgent {
  readonly asked: Promise<void>
  readonly #stop = new AbortController()
  readonly #log: Log
  code = 0

  constructor(log: Log) {
    this.#log = log
    this.asked = new Promise((resolve) => this.signal.addEventListener('abort', () => resolve(), { once: true }))
    for (const name of ['SIGTERM', 'SIGINT'] as const) process.on(name, () => this.#asked(name))
    process.on('unhandledRejection', (error) => this.broken(error))
    process.on('uncaughtException', (error) => this.broken(error))
  }

  get signal(): AbortSignal {
    return this.#stop.signal
  }

  /** A dead ledger or a broken invariant: end at once, the supervisor starts a new agent, the ledger brings it back. */
  broken(error: unknown): void {
    // Orders and ends that come after the ledger was closed for the stop: the next agent finds them undone and does them.
    if (this.signal.aborted && isFault(error, 'unavailable')) {
      this.#log.info({ fault: error.message }, 'agent.left_undone')
      return
    }
    this.#log.error({ error }, 'agent.broken')
    if (isFault(error)) process.stderr.write(`hearth agent: ${error.message}\n`)
    process.exit(isFault(error) ? faultTable[error.code].exitCode : 1)
  }

  #asked(name: string): void {
    if (this.signal.aborted) process.exit(1)
    this.#log.info({ signal: name }, 'agent.stop_requested')
    this.#stop.abort(new Fault('unavailable', 'the agent stops'))
  }
}
