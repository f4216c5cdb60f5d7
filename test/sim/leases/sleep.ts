/** As a clock sleeps; `after` runs what it is given when the time has come, if that life of the process goes on. */
export const sleeping = (after: (work: () => void) => void, signal: AbortSignal): Promise<void> =>
  new Promise((resolve, reject) => {
    const leave = (): void => reject(signal.reason as Error)
    if (signal.aborted) return leave()
    signal.addEventListener('abort', leave, { once: true })
    after(() => {
      signal.removeEventListener('abort', leave)
      resolve()
    })
  })
