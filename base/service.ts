export interface Service {
  readonly name: string
  /** Resolves once it serves. A rejection means nothing is left running. */
  start(): Promise<void>
  /** Idempotent. May take until `deadline` aborts, then must let go. */
  stop(deadline: AbortSignal): Promise<void>
}

/** Starts in order; on any failure stops what had started, newest first, within `patience()`. */
export function inOrder(name: string, parts: readonly Service[], patience: () => AbortSignal): Service {
  let running: Service[] = []
  const stop = async (deadline: AbortSignal): Promise<void> => {
    const toStop = running.reverse()
    running = []
    const failures: unknown[] = []
    for (const part of toStop) await part.stop(deadline).catch((e: unknown) => failures.push(e))
    if (failures.length > 0) throw new AggregateError(failures, `${name}: unclean stop`)
  }
  return {
    name,
    stop,
    async start() {
      for (const part of parts) {
        try {
          await part.start()
          running.push(part)
        } catch (cause) {
          // A part that fails to stop must not hide why the start failed.
          await stop(patience()).catch(() => undefined)
          throw new Error(`${part.name} did not start`, { cause })
        }
      }
    }
  }
}
