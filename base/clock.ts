export interface Clock {
  /** Milliseconds that never go backwards; for measuring, timeouts, leases. */
  monotonicMs(): number
  /** Wall time in milliseconds since 1970; for display and audit only. */
  wallMs(): number
  /** Resolves after `ms`; rejects with the signal's reason when it aborts first. */
  sleep(ms: number, signal: AbortSignal): Promise<void>
}

const timers = new WeakMap<AbortSignal, AbortSignal>()

/**
 * Aborts with `signal`, or after `ms`. In place of `AbortSignal.any` over `AbortSignal.timeout`: Node 20 keeps neither of the two
 * alive for the other's sake, so the first collection of garbage would take the time limit away.
 */
export function within(ms: number, signal: AbortSignal): AbortSignal {
  const timer = AbortSignal.timeout(ms)
  const either = AbortSignal.any([signal, timer])
  timers.set(either, timer)
  return either
}

export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  sleep: (ms, signal) =>
    new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(signal.reason as Error)
        return
      }
      const timer = setTimeout(() => {
        signal.removeEventListener('abort', stop)
        resolve()
      }, ms)
      const stop = (): void => {
        clearTimeout(timer)
        reject(signal.reason as Error)
      }
      signal.addEventListener('abort', stop, { once: true })
    })
}
