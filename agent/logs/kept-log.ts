/** One log that outlives its task. Pure. */

export interface KeptLog {
  readonly containerId: string
  /** Empty where what was written of it is damaged: it is kept for its time and cannot be asked for. */
  readonly frameworkId: string
  readonly taskId: string
  readonly attempt: number
  /** Wall time. */
  readonly removedAtMs: number
  readonly bytes: number
}

/** Beside the files of the log. */
export const aboutName = 'about.json'

/** Undefined for what we did not write. */
export function parseKept(text: string, containerId: string): KeptLog | undefined {
  try {
    const { frameworkId, taskId, attempt, removedAtMs, bytes, ...rest } = JSON.parse(text) as Partial<KeptLog>
    const isCount = (n: unknown): n is number => Number.isSafeInteger(n) && (n as number) >= 0
    if (rest.containerId !== containerId || typeof frameworkId !== 'string' || typeof taskId !== 'string') return undefined
    if (!isCount(attempt) || !isCount(removedAtMs) || !isCount(bytes)) return undefined
    return { containerId, frameworkId, taskId, attempt, removedAtMs, bytes }
  } catch {
    return undefined
  }
}

export type Removal = 'age' | 'room'

interface Bounds {
  readonly keepMs: number
  readonly maxBytes: number
  readonly mostLogs: number
  readonly nowMs: number
}

/** Which of the logs, oldest first, have to go now. One that is from the future by this clock is as good as new. */
export function overdue(
  logs: readonly KeptLog[],
  { keepMs, maxBytes, mostLogs, nowMs }: Bounds
): readonly { readonly log: KeptLog; readonly why: Removal }[] {
  let bytes = logs.reduce((sum, log) => sum + log.bytes, 0)
  let count = logs.length
  return logs.flatMap((log) => {
    const why = nowMs - log.removedAtMs >= keepMs ? 'age' : bytes > maxBytes || count > mostLogs ? 'room' : undefined
    if (why === undefined) return []
    bytes -= log.bytes
    count -= 1
    return [{ log, why } as const]
  })
}
