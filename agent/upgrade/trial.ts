import { link, mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../../base/clock.ts'
import { errnoOf, Fault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import { replaceFile, syncDirectory } from '../../base/replace-file.ts'
import type { UpgradeOrders } from './orders.ts'

interface Parts {
  readonly clock: Clock
  readonly log: Log
  /** Rejects with what this version cannot do. */
  prove(signal: AbortSignal): Promise<void>
  /** Lifts the ledger to this version's level. */
  raise(): Promise<void>
}

interface Config {
  readonly orders: UpgradeOrders
  readonly directory: string
}

/**
 * A version's way from its start to being the one that runs here. Without a trial it is that at once.
 *
 *   start ─ prove ─ (ready) ─ probation ─ prove ─ verdict ─ level ─ over          the launcher may take it back until the verdict
 */
export class Trial {
  readonly #parts: Parts
  readonly #config: Config
  readonly #over = new AbortController()

  constructor(parts: Parts, config: Config) {
    this.#parts = parts
    this.#config = config
  }

  /** Aborts when this version is here to stay: until then nothing new is launched. */
  get over(): AbortSignal {
    return this.#over.signal
  }

  /** The self-test of a start on trial; rejects where the version must not go on. */
  async begin(signal: AbortSignal): Promise<void> {
    const { trial } = this.#config.orders
    if (trial === undefined) return
    await this.#parts.prove(signal)
    this.#parts.log.info({ version: trial.candidate, from: trial.from }, 'upgrade.proven_once')
  }

  /** Lives through the probation, proves it again, and settles it. Resolves without a word when `signal` aborts first. */
  async settle(signal: AbortSignal): Promise<void> {
    const { trial, probationMs } = this.#config.orders
    if (trial !== undefined) {
      try {
        await this.#parts.clock.sleep(probationMs, signal)
        await this.#parts.prove(signal)
      } catch (e) {
        if (signal.aborted) return
        throw e
      }
      await confirm(this.#config.directory, trial.candidate)
      this.#parts.log.info({ version: trial.candidate, from: trial.from }, 'upgrade.confirmed')
    }
    await this.#parts.raise()
    this.#over.abort()
  }
}

/**
 * Whoever links the verdict first has decided, the launcher or this version. Throws `Fault('conflict')` where the launcher was
 * first: the process must end then, for the version before is about to start.
 */
export async function confirm(directory: string, version: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const verdict = join(directory, 'verdict')
  const own = join(directory, 'verdict.agent')
  await replaceFile(own, Buffer.from(`${version} confirmed\n`))
  try {
    await link(own, verdict)
  } catch (e) {
    if (errnoOf(e) !== 'EEXIST') throw e
    const [of, word] = (await readFile(verdict, 'utf8')).trim().split(' ')
    if (of !== version || word !== 'confirmed') {
      throw new Fault('conflict', `version ${version} was taken back before it was confirmed`, { version })
    }
  } finally {
    await rm(own, { force: true })
  }
  await syncDirectory(directory)
  await replaceFile(join(directory, 'confirmed'), Buffer.from(`${version}\n`))
}
