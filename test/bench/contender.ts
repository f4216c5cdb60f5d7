/** One way to start containers. Everything that is not part of a launch happens in `prepare`. */
export interface Contender {
  readonly name: string
  readonly note?: string
  /** Makes one container ready to be started. */
  prepare(): Promise<Prepared>
}

export interface Prepared {
  readonly id: string
  /** Milliseconds from the order to the first byte of the container's first process. */
  start(signal: AbortSignal): Promise<number>
  /** Ends the container and removes all of it; also what is half started. Repeatable. */
  remove(): Promise<void>
}
