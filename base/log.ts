import { writeSync } from 'node:fs'

export type LogFields = Readonly<Record<string, unknown>>

/** The small part of pino that rooms see. Events are stable dotted names; facts are fields with units. */
export interface Log {
  debug(fields: LogFields, event: string): void
  info(fields: LogFields, event: string): void
  warn(fields: LogFields, event: string): void
  error(fields: LogFields, event: string): void
  child(bindings: LogFields): Log
}

export const silentLog: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silentLog
}

const mostHeldBytes = 64 * 1024

/**
 * Lines onto an open file, in their order. Lines that it does not take (a full disk) are kept back, 64 KiB of them, and go ahead of the
 * next one; how many more there were is said in a line of its own. Never throws: no daemon ends because its log cannot be written.
 */
export class LineSink {
  readonly #fd: number
  /** The line that tells how many lines are missing in its place. */
  readonly #lost: (lines: number) => string
  #held: Buffer = Buffer.alloc(0)
  #lines = 0

  constructor(fd: number, lost: (lines: number) => string) {
    this.#fd = fd
    this.#lost = lost
  }

  write(line: string): void {
    if (!this.#flush()) {
      this.#hold(line)
      return
    }
    if (this.#lines > 0) {
      this.#held = Buffer.from(this.#lost(this.#lines))
      this.#lines = 0
    }
    this.#held = Buffer.concat([this.#held, Buffer.from(line)])
    this.#flush()
  }

  #hold(line: string): void {
    const bytes = Buffer.from(line)
    if (this.#lines > 0 || this.#held.length + bytes.length > mostHeldBytes) this.#lines += 1
    else this.#held = Buffer.concat([this.#held, bytes])
  }

  #flush(): boolean {
    try {
      while (this.#held.length > 0) this.#held = this.#held.subarray(writeSync(this.#fd, this.#held))
      return true
    } catch {
      return false // no room, or a reader who is slower
    }
  }
}

/** The standard output of a daemon, for pino. */
export const pinoSink = (room: string, wallMs: () => number): LineSink =>
  new LineSink(1, (lines) => `${JSON.stringify({ level: 40, time: wallMs(), room, lines, msg: 'log.lines_lost' })}\n`)
