import { execFileSync } from 'node:child_process'
import { closeSync, constants, openSync, rmSync } from 'node:fs'
import { Socket } from 'node:net'
import { Fault } from '../../base/fault.ts'

/** A FIFO that stamps the arrival of its first byte with the monotonic clock (CLOCK_MONOTONIC, the same in all processes). */
export class FirstByte {
  readonly path: string
  readonly #socket: Socket
  #settle: ((error?: Error) => void) | undefined
  #stampNs: bigint | undefined

  /** Opened for both, so that it neither blocks nor ends before the container's process opens it. */
  constructor(path: string) {
    this.path = path
    execFileSync('mkfifo', ['-m', '666', path])
    const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK)
    try {
      this.#socket = new Socket({ fd, readable: true, writable: false })
    } catch (e) {
      closeSync(fd)
      throw e
    }
    this.#socket.once('data', () => {
      this.#stampNs = process.hrtime.bigint()
      this.#settle?.()
    })
    this.#socket.on('error', (e) => this.#settle?.(e))
  }

  /** Rejects when `signal` aborts, with its reason. */
  async wait(signal: AbortSignal): Promise<bigint> {
    if (this.#stampNs === undefined) {
      await new Promise<void>((resolve, reject) => {
        const stop = (): void => this.#settle?.(signal.reason as Error)
        this.#settle = (error) => {
          signal.removeEventListener('abort', stop)
          if (error === undefined) resolve()
          else reject(error)
        }
        signal.addEventListener('abort', stop, { once: true })
        if (signal.aborted) stop()
      })
    }
    if (this.#stampNs === undefined) throw new Fault('unavailable', `${this.path} was closed without a byte`)
    return this.#stampNs
  }

  close(): void {
    this.#socket.destroy()
    rmSync(this.path, { force: true })
  }
}

/** How long a container may take before the bench gives up on it. */
export const launchPatienceMs = 60_000

/** The only program of every container: tells that it runs, then waits. */
export const containerCommand = (fifoInside: string): readonly string[] => [
  '/bin/sh',
  '-c',
  `echo > ${fifoInside}; exec sleep 1000000`
]
export const fifoMountPoint = '/bench'
