import { existsSync, readFileSync, watch } from 'node:fs'
import { constants } from 'node:os'
import { basename, dirname } from 'node:path'
import { errnoOf, Fault } from '../../base/fault.ts'

/**
 * A program that `runc exec --pid-file` started. The pid file appears when the program runs; as long as it is missing, what
 * runc writes is its own complaint and not the program's output.
 */
export class ExecProgram {
  readonly #pidFile: string
  #known: { readonly pid: number; readonly startTicks: string } | undefined

  constructor(pidFile: string) {
    this.#pidFile = pidFile
  }

  /** Resolves with true when the program runs, with false when `over` aborts without it. */
  started(over: AbortSignal): Promise<boolean> {
    if (this.hasStarted) return Promise.resolve(true)
    return new Promise((resolve) => {
      const look = (): void => {
        if (this.hasStarted) done(true)
        else if (over.aborted) done(false)
      }
      const done = (started: boolean): void => {
        watcher.close()
        over.removeEventListener('abort', look)
        resolve(started)
      }
      const watcher = watch(dirname(this.#pidFile), (_, name) => {
        if (name === null || name === basename(this.#pidFile)) look()
      })
      // The folder goes with its container: then the end of runc tells.
      watcher.on('error', () => watcher.close())
      over.addEventListener('abort', look)
      look()
    })
  }

  /** Also remembers the process while it is surely still the one that runc started. */
  get hasStarted(): boolean {
    if (this.#known !== undefined) return true
    if (!existsSync(this.#pidFile)) return false
    const pid = Number(readFileSync(this.#pidFile, 'utf8'))
    this.#known = { pid, startTicks: startTicks(pid) ?? 'ended' }
    return true
  }

  /** Of the program as the host sees it; 0 before it has started. */
  get pid(): number {
    return this.hasStarted ? (this.#known?.pid ?? 0) : 0
  }

  /** Does nothing when the program has not started or is gone: a pid alone may by now be another process. */
  kill(signal: NodeJS.Signals): void {
    if (!this.hasStarted || this.#known === undefined) return
    const { pid, startTicks: ticks } = this.#known
    if (startTicks(pid) !== ticks) return
    try {
      process.kill(pid, signal)
    } catch (e) {
      if (errnoOf(e) !== 'ESRCH') throw e
    }
  }
}

/** Field 22 of /proc/PID/stat, counted after the program's name, which may hold blanks and brackets. */
function startTicks(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  } catch (e) {
    if (errnoOf(e) === 'ENOENT' || errnoOf(e) === 'ESRCH') return undefined
    throw e
  }
}

export function signalName(name: string): NodeJS.Signals {
  if (isSignal(name)) return name
  throw new Fault(
    'invalid',
    `there is no signal ${JSON.stringify(name.slice(0, 20))}: signals are called SIGTERM, SIGINT and so on`
  )
}

const isSignal = (name: string): name is NodeJS.Signals => Object.hasOwn(constants.signals, name)
