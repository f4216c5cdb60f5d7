import { readFile, rm } from 'node:fs/promises'
import type { Clock } from '../../base/clock.ts'
import { draftOf, replaceFile } from '../../base/replace-file.ts'

/** When each image was last used. Written down from time to time: to the minute it need not be known. */
export class LastUse {
  readonly #path: string
  readonly #clock: Pick<Clock, 'wallMs'>
  readonly #atMs: Map<string, number>
  #changed = false

  private constructor(path: string, clock: Pick<Clock, 'wallMs'>, atMs: Map<string, number>) {
    this.#path = path
    this.#clock = clock
    this.#atMs = atMs
  }

  /** A file that is damaged, or none, says nothing: then an image counts from its arrival. */
  static async open(path: string, clock: Pick<Clock, 'wallMs'>): Promise<LastUse> {
    await rm(draftOf(path), { force: true }).catch(() => undefined) // the next save writes it anew
    const text = await readFile(path, 'utf8').catch(() => '{}')
    return new LastUse(path, clock, new Map(Object.entries(timesIn(text))))
  }

  note(digest: string): void {
    this.#atMs.set(digest, this.#clock.wallMs())
    this.#changed = true
  }

  /** 0 where nobody knows. */
  of(digest: string): number {
    return this.#atMs.get(digest) ?? 0
  }

  /** What is not in `known` is forgotten. */
  async save(known: ReadonlySet<string>): Promise<void> {
    for (const digest of this.#atMs.keys()) if (!known.has(digest)) this.#atMs.delete(digest)
    if (!this.#changed) return
    this.#changed = false
    try {
      await replaceFile(this.#path, `${JSON.stringify(Object.fromEntries(this.#atMs))}\n`)
    } catch (e) {
      this.#changed = true
      throw e
    }
  }
}

function timesIn(text: string): Readonly<Record<string, number>> {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null) return {}
    return Object.fromEntries(Object.entries(value).filter((row): row is [string, number] => typeof row[1] === 'number'))
  } catch {
    return {}
  }
}
