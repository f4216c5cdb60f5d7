import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseSignals, type SignalEvent } from '../cause/signal-event.ts'

const bufferKilobytesEach = 64
/** Those that end a program and are not sent all the time. */
const filter = '(sig<=15 && sig!=14 && sig!=13) || sig==31'

/**
 * Who sends signals, from an instance of the kernel's own tracing (Documentation/trace/ftrace.rst, "Instances"): a small ring in
 * the kernel that outlives this process and costs nothing while nobody is killed. Used where tracefs is mounted; this agent
 * mounts nothing for it.
 */
export class SignalTrace {
  readonly #name: string
  #directory: string | undefined

  /** `name` tells this agent's instance from others' on the host. */
  constructor(name: string) {
    this.#name = name
  }

  start(mounts = readFileSync('/proc/self/mounts', 'utf8')): void {
    const [mount] = mounts.split('\n').flatMap((line) => {
      const [, path = '', type = ''] = line.split(' ')
      return type === 'tracefs' ? [path] : []
    })
    if (mount === undefined) return
    const directory = join(mount, 'instances', this.#name)
    try {
      mkdirSync(directory, { recursive: true })
      const set = (file: string, text: string): void => writeFileSync(join(directory, file), text)
      if (readFileSync(join(directory, 'events/signal/signal_generate/enable'), 'latin1').trim() !== '1') {
        set('trace_clock', 'mono')
        set('buffer_size_kb', String(bufferKilobytesEach))
        set('events/signal/signal_generate/filter', filter)
        set('events/signal/signal_generate/enable', '1')
      }
      this.#directory = directory
    } catch {
      this.#directory = undefined // locked down, or without this event
    }
  }

  /** undefined where this node does not tell. */
  read(): readonly SignalEvent[] | undefined {
    if (this.#directory === undefined) return undefined
    try {
      return parseSignals(readFileSync(join(this.#directory, 'trace'), 'latin1'))
    } catch {
      return undefined // tracefs was unmounted
    }
  }

  /** The ring goes with the agent that is stopped in order; one that was killed leaves it to the next. */
  stop(): void {
    if (this.#directory === undefined) return
    try {
      writeFileSync(join(this.#directory, 'events/signal/signal_generate/enable'), '0')
      rmdirSync(this.#directory)
    } catch {
      // Somebody reads it: it stays, and is used again.
    }
    this.#directory = undefined
  }
}
