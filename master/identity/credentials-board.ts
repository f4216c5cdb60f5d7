import { Fault } from '../../base/fault.ts'
import type { Credentials } from '../../identity/credentials.ts'

/** What this master shows to the others by now; a founder has nothing until its log has an authority. */
export class CredentialsBoard {
  /** Resolves when there is something to show. */
  readonly ready: Promise<void>
  #current: Credentials | undefined
  #isReady: () => void = () => undefined

  constructor(found?: Credentials) {
    this.ready = new Promise((resolve) => {
      this.#isReady = resolve
    })
    if (found !== undefined) this.show(found)
  }

  show(credentials: Credentials): void {
    this.#current = credentials
    this.#isReady()
  }

  get isEmpty(): boolean {
    return this.#current === undefined
  }

  /** Throws `Fault('unavailable')` while there is nothing. */
  get current(): Credentials {
    if (this.#current !== undefined) return this.#current
    throw new Fault('unavailable', 'this master has no certificate yet: see hearth cluster show')
  }
}
