import { appendFile, open, rename, stat } from 'node:fs/promises'
import { errnoOf } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import type { Service } from '../base/service.ts'

export interface AuditEntry {
  readonly atMs: number
  readonly who: string
  readonly from: string
  readonly method: string
  readonly path: string
  /** HTTP status: below 400 it was done. */
  readonly status: number
}

const rotateBytes = 32 * 1024 * 1024
const newestBytes = 256 * 1024

/** Who changed what, from where, and with which result: a line of JSON for each write that was asked for, done or refused. */
export class AuditLog implements Service {
  readonly name = 'audit'
  readonly #path: string
  readonly #log: Log
  #writing: Promise<void> = Promise.resolve()

  constructor(path: string, log: Log) {
    this.#path = path
    this.#log = log
  }

  /** In the order of the calls. What cannot be written there stands in the master's own log instead. */
  add(entry: AuditEntry): void {
    this.#writing = this.#writing
      .then(() => this.#write(entry))
      .catch((e: unknown) => {
        this.#log.error({ ...entry, err: e instanceof Error ? e.message : String(e) }, 'audit.not_written')
      })
  }

  async start(): Promise<void> {}

  /** What was added is written; an answer that is just out adds its line in the next turn. */
  async stop(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve))
    await this.#writing
  }

  /** The last entries, as many as fit into 256 KiB, oldest first. */
  async newest(): Promise<readonly AuditEntry[]> {
    await this.#writing
    const text = await this.#tail()
    return text.split('\n').flatMap((line) => {
      try {
        return [JSON.parse(line) as AuditEntry]
      } catch {
        return [] // the first line is cut, and the last one is empty
      }
    })
  }

  async #tail(): Promise<string> {
    try {
      const file = await open(this.#path, 'r')
      try {
        const { size } = await file.stat()
        const from = Math.max(0, size - newestBytes)
        const { buffer, bytesRead } = await file.read(Buffer.alloc(size - from), 0, size - from, from)
        return buffer.subarray(0, bytesRead).toString()
      } finally {
        await file.close()
      }
    } catch (e) {
      if (errnoOf(e) === 'ENOENT') return '' // nothing was ever changed
      throw e
    }
  }

  async #write(entry: AuditEntry): Promise<void> {
    await appendFile(this.#path, `${JSON.stringify(entry)}\n`, { mode: 0o600 })
    const { size } = await stat(this.#path)
    if (size >= rotateBytes) await rename(this.#path, `${this.#path}.1`)
  }
}
