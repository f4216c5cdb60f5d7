import { constants } from 'node:os'
import type { Clock } from '../base/clock.ts'
import { Fault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import type { Runtime } from '../isolators/runtime/runtime.ts'
import type { KillPolicy } from '../proto/gen/messages.ts'
import { signalName } from '../proto/signal.ts'

interface Parts {
  readonly runtime: Pick<Runtime, 'signal' | 'kill'>
  readonly clock: Clock
  readonly log: Log
  /** What the image says about the signal; empty: nothing. */
  readonly objects: { readonly stopSignal: string }
}

const defaultGraceMs = 10_000
const againMs = { first: 100, most: 10_000 } as const

export const graceOf = (policy: KillPolicy | null): number => (policy === null ? defaultGraceMs : policy.graceMs)

/** Signal, grace, then cgroup.kill, again and again until the container has ended. A second stop can only shorten the grace. */
export class AttemptStop {
  readonly #containerId: string
  readonly #parts: Parts
  #killBy: AbortController | undefined

  constructor(containerId: string, parts: Parts) {
    this.#containerId = containerId
    this.#parts = parts
  }

  begin(policy: KillPolicy | null): void {
    const { runtime, clock, log, objects } = this.#parts
    this.over()
    const killBy = new AbortController()
    this.#killBy = killBy
    const graceMs = graceOf(policy)
    const stopping = async (): Promise<void> => {
      if (graceMs > 0) {
        await runtime.signal(this.#containerId, signalNumber(policy?.signal || knownSignal(objects.stopSignal)))
        await clock.sleep(graceMs, killBy.signal)
      }
      for (let pauseMs: number = againMs.first; ; pauseMs = Math.min(againMs.most, 2 * pauseMs)) {
        try {
          return await runtime.kill(this.#containerId)
        } catch (error) {
          log.error({ error, againMs: pauseMs }, 'container.kill_failed')
          await clock.sleep(pauseMs, killBy.signal)
        }
      }
    }
    void stopping().catch((error: unknown) => {
      if (!killBy.signal.aborted) log.error({ error }, 'container.kill_failed')
    })
  }

  /** The container has ended: the grace need not be waited for. */
  over(): void {
    this.#killBy?.abort()
  }
}

/** glibc's first real-time signal, which is the one that images mean by SIGRTMIN (systemd wants SIGRTMIN+3). */
const firstRealTime = 34
const lastRealTime = 64

function signalNumber(name: string): number {
  const [, offset] = /^SIGRTMIN(?:\+(\d{1,2}))?$/.exec(name) ?? []
  if (name.startsWith('SIGRTMIN')) return Math.min(firstRealTime + Number(offset ?? 0), lastRealTime)
  const known: Readonly<Record<string, number>> = constants.signals
  const number = known[name === '' ? 'SIGTERM' : name]
  if (number === undefined) throw new Fault('invalid', `there is no signal ${name}`)
  return number
}

/** Images hold whatever their makers wrote: what is no signal ends a container as usual. */
const knownSignal = (text: string): string => (/^SIGRTMIN(\+\d{1,2})?$/.test(text) ? text : (signalName(text) ?? ''))
