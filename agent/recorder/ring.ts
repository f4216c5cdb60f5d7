import { appendFileSync, mkdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { dirname } from 'node:path'

/** Of each of the two files; the older one goes when the newer one is full. */
const fileBytes = 128 * 1024
const maxLineBytes = 2_048

/**
 * Lines in two files of bounded size, in a directory that dies with the boot: what was written before a kill -9 is there after
 * it. No sync: it need not outlive the kernel.
 */
export class RecorderRing {
  readonly #path: string
  #bytes: number | undefined

  constructor(path: string) {
    this.#path = path
  }

  /** Best effort: a recorder that has no room records nothing. */
  write(row: Readonly<Record<string, unknown>>): void {
    const line = `${JSON.stringify(row)}\n`
    if (line.length > maxLineBytes) return
    try {
      if (this.#bytes === undefined) mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 })
      this.#bytes ??= statSync(this.#path, { throwIfNoEntry: false })?.size ?? 0
      if (this.#bytes + line.length > fileBytes) {
        renameSync(this.#path, `${this.#path}.1`)
        this.#bytes = 0
      }
      appendFileSync(this.#path, line, { mode: 0o600 })
      this.#bytes += line.length
    } catch {
      this.#bytes = undefined // no room, or the directory went: the next line looks anew
    }
  }

  remove(): void {
    for (const path of [this.#path, `${this.#path}.1`]) rmSync(path, { force: true })
    this.#bytes = undefined
  }

  /** The last `bytes` of it, oldest first, in whole lines. */
  tail(bytes: number): string {
    const text = `${readOrNothing(`${this.#path}.1`)}${readOrNothing(this.#path)}`
    return text.length <= bytes ? text : text.slice(text.indexOf('\n', text.length - bytes) + 1)
  }
}

function readOrNothing(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
