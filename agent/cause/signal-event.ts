/** One signal that the kernel made, from the event `signal:signal_generate` (include/trace/events/signal.h). */
export interface SignalEvent {
  /** CLOCK_MONOTONIC. */
  readonly atSeconds: number
  readonly signal: number
  /** Who was running when it was made: the sender, or the faulting program itself. */
  readonly fromPid: number
  readonly fromComm: string
  readonly toPid: number
  readonly toComm: string
  /** A fault of the program or another word of the kernel's own (si_code above 0), not somebody's kill(2). */
  readonly byKernel: boolean
  /** False where the kernel threw it away: the target ignores it. */
  readonly delivered: boolean
}

const linePattern =
  /^\s*(.{1,16})-(\d+)\s+\[\d+\]\s+\S+\s+(\d+\.\d+): signal_generate: sig=(\d+) errno=-?\d+ code=(-?\d+) comm=(.{0,16}) pid=(\d+) grp=\d res=(\d)/

/** The text of an instance's `trace`; lines of other kinds are left out. */
export function parseSignals(text: string): SignalEvent[] {
  return text.split('\n').flatMap((line) => {
    const m = linePattern.exec(line)
    if (m === null) return []
    const [, fromComm = '', fromPid, at, signal, code, toComm = '', toPid, result] = m
    return [
      {
        atSeconds: Number(at),
        signal: Number(signal),
        fromPid: Number(fromPid),
        fromComm: fromComm.trim(),
        toPid: Number(toPid),
        toComm,
        byKernel: Number(code) > 0,
        delivered: Number(result) === 0
      }
    ]
  })
}
