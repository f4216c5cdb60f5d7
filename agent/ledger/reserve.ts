import { randomFillSync } from 'node:crypto'
import { join } from 'node:path'
import { errnoOf } from '../../base/fault.ts'
import { type LedgerFiles, writeFully } from './files.ts'

export const isFull = (e: unknown): boolean => errnoOf(e) === 'ENOSPC' || errnoOf(e) === 'EDQUOT'

/**
 * Blocks set aside in a file of their own, given up when the disk is full. Random bytes, so that no file system can store them
 * as a hole or compressed.
 */
export class Reserve {
  readonly #files: LedgerFiles
  readonly #directory: string
  readonly #bytes: number
  #held = false

  constructor(files: LedgerFiles, directory: string, bytes: number) {
    this.#files = files
    this.#directory = directory
    this.#bytes = bytes
  }

  get held(): boolean {
    return this.#held
  }

  /** Takes over the reserve of the run before, or makes it. A full disk leaves it not held. */
  async take(): Promise<void> {
    const names = await this.#files.list(this.#directory)
    this.#held = names.includes('reserve') || (await this.#make())
  }

  async giveUp(): Promise<void> {
    this.#held = false
    await this.#files.remove(this.#path)
  }

  /** Makes the reserve again once there is room for it and as much again. */
  async retake(): Promise<void> {
    if ((await this.#files.freeBytes(this.#directory)) < 2 * this.#bytes) return
    this.#held = await this.#make()
  }

  get #path(): string {
    return join(this.#directory, 'reserve')
  }

  async #make(): Promise<boolean> {
    const draft = `${this.#path}.draft`
    try {
      const file = await this.#files.open(draft)
      try {
        const block = Buffer.allocUnsafe(64 * 1024)
        for (let at = 0; at < this.#bytes; at += block.length) {
          await writeFully(file, randomFillSync(block).subarray(0, this.#bytes - at), at)
        }
        await file.datasync()
      } finally {
        await file.close()
      }
      await this.#files.rename(draft, this.#path)
      return true
    } catch (e) {
      if (!isFull(e)) throw e
      await this.#files.remove(draft)
      return false
    }
  }
}
