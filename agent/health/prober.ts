import type { Clock } from '../../base/clock.ts'
import type { Probe } from '../../proto/gen/messages.ts'
import { type CheckedContainer, type CheckParts, runCheck } from './checks.ts'
import { beginHealth, type Health, isDue, isReady, probeDefaults, takeResult } from './verdict.ts'

interface Parts extends CheckParts {
  readonly clock: Clock
}

export interface Probed extends CheckedContainer {
  readonly probes: readonly Probe[]
  /** What the attempt's last status said. */
  readonly known: { readonly startedUp: boolean; readonly ready: boolean }
  /** How long the attempt has been running, in milliseconds. */
  ranMs(): number
}

export interface ProbeListener {
  changed(told: { readonly ready: boolean; readonly startedUp: boolean }): void
  /** At most once. */
  failed(message: string): void
}

/** Runs every probe of a container at its interval until the signal aborts or one has failed it. Never rejects for a check. */
export async function probe(parts: Parts, of: Probed, listener: ProbeListener, signal: AbortSignal): Promise<void> {
  const over = new AbortController()
  const either = AbortSignal.any([signal, over.signal])
  let health = beginHealth(of.probes, of.known)
  const take = (next: Health): void => {
    const before = health
    health = next
    if (isReady(before) !== isReady(next) || before.startedUp !== next.startedUp) {
      listener.changed({ ready: isReady(next), startedUp: next.startedUp })
    }
  }
  const repeat = async (one: Probe): Promise<void> => {
    for (let first = !of.known.startedUp; ; first = false) {
      if (!first) await parts.clock.sleep(one.intervalMs || probeDefaults.intervalMs, either)
      if (!isDue(health, one.purpose)) continue
      const result = await runCheck(parts, of, one, either)
      const step = takeResult(health, one, result, of.ranMs())
      take(step.health)
      if (step.failed === undefined) continue
      over.abort()
      listener.failed(step.failed)
    }
  }
  await Promise.all(
    of.probes.map((one) =>
      repeat(one).catch((e: unknown) => {
        if (!either.aborted) throw e
      })
    )
  )
}
