import { X509Certificate } from 'node:crypto'
import type { Clock } from '../base/clock.ts'
import type { Exec } from '../base/exec.ts'
import { isFault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import type { Random } from '../base/random.ts'
import type { Service } from '../base/service.ts'
import type { Credentials } from '../identity/credentials.ts'
import { digestOf } from '../identity/join-token.ts'
import { renewFromMs } from '../identity/lifetime.ts'

interface Parts {
  readonly exec: Exec
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly readCredentials: () => Promise<Credentials | undefined>
  /** What comes in next shows the new certificate. */
  readonly onRenewed: () => void
  readonly onBroken: (error: unknown) => void
}

interface Config {
  readonly stateDir: string
  readonly masters: readonly string[]
  /** Node and enrol.cjs. */
  readonly program: readonly string[]
}

/** By the wall clock, which may be set at any moment: so it is looked at, and no timer waits for a day. */
const lookEveryMs = 60_000
/** Between two tries; a master may be away for weeks before it matters. */
const retryMs = 10 * 60_000
const patienceMs = 60_000

/** Renews the certificate of this node long before it ends, as long as any master answers. */
export class CertificateRenewal implements Service {
  readonly name = 'certificate-renewal'
  readonly #parts: Parts
  readonly #config: Config
  readonly #stop = new AbortController()
  #loop: Promise<void> = Promise.resolve()
  #authority = ''

  constructor(parts: Parts, config: Config) {
    this.#parts = parts
    this.#config = config
  }

  /** A master says which authority signs by now; one that this node does not know yet is a reason to renew. */
  noticed(authority: string): void {
    this.#authority = authority
  }

  async start(): Promise<void> {
    if (this.#config.masters.some((m) => m.startsWith('tls:'))) {
      this.#loop = this.#keep().catch((e: unknown) => this.#parts.onBroken(e))
    }
  }

  async stop(): Promise<void> {
    this.#stop.abort()
    await this.#loop
  }

  async #keep(): Promise<void> {
    const { signal } = this.#stop
    const { clock, random } = this.#parts
    while (!signal.aborted) {
      const failed = !(await this.#look(signal))
      const pauseMs = failed ? random.between(retryMs / 2, retryMs) : lookEveryMs
      await clock.sleep(pauseMs, signal).catch(() => undefined) // stopping
    }
  }

  #isOfOld({ authorities }: Credentials): boolean {
    return this.#authority !== '' && digestOf(new X509Certificate(authorities).raw) !== this.#authority
  }

  /** False where it is time and nobody gave a newer one. */
  async #look(signal: AbortSignal): Promise<boolean> {
    const { clock, log, readCredentials, onRenewed } = this.#parts
    try {
      const own = await readCredentials()
      if (own === undefined || !(clock.wallMs() >= renewFromMs(own) || this.#isOfOld(own))) return true
      const { exec } = this.#parts
      const { stateDir, masters, program } = this.#config
      const [node = '', ...script] = program
      const args = [...script, 'renew', '--state-dir', stateDir, ...masters]
      const ran = await exec.run(node, args, { timeoutMs: patienceMs }, signal)
      if (ran.code !== 0) {
        log.warn({ untilMs: own.untilMs, said: (ran.stdout || ran.stderr).slice(0, 500) }, 'certificate.not_renewed')
        return false
      }
      log.info({ before: own.serial }, 'certificate.renewed')
      onRenewed()
      return true
    } catch (e) {
      if (signal.aborted) return true
      if (!isFault(e)) throw e
      log.warn({ code: e.code, err: e.message }, 'certificate.not_renewed')
      return false
    }
  }
}
