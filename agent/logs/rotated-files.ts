import { constants } from 'node:fs'
import { link, open, rename, rm, stat } from 'node:fs/promises'
import type { Clock } from '../../base/clock.ts'
import { errnoOf } from '../../base/fault.ts'
import { heldName, maxGenerations, nextName, rotatedName } from './generations.ts'

export interface RotatedLog {
  readonly path: string
  /** conmon's control pipe in the bundle. */
  readonly controlPath: string
  readonly fileBytes: number
  /** All files of the log together, the one being written included. At least 2. */
  readonly files: number
}

/** A request that conmon has not followed by then was lost with whoever made it. */
const askAgainMs = 5_000

/**
 * The files of one log. To begin a new one conmon opens `log.tmp` and renames it to `log`, when it is asked to, and of its own
 * accord whenever the bytes of its life pass a multiple of --log-size-max; the old `log` would then be gone. Hence two second
 * names, made before they are needed:
 *
 *   log.held   the file that is `log`; once it is not, it becomes `log.1`
 *   log.next   the empty file that is `log.tmp`, and so the next `log`
 *
 * Nothing that was written is ever without a name. Each step may be the last before a crash: `settle` goes on from any of them.
 */
export class RotatedFiles {
  readonly #rotated: RotatedLog
  readonly #clock: Clock
  #askedAtMs = Number.NEGATIVE_INFINITY

  constructor(rotated: RotatedLog, clock: Clock) {
    this.#rotated = rotated
    this.#clock = clock
  }

  /** Puts names in order and asks for a new file where it is time; answers the size of the one being written. */
  async settle(): Promise<number | undefined> {
    const { path, fileBytes } = this.#rotated
    const current = await look(path)
    if (current === undefined) return undefined
    const held = await look(heldName(path))
    const next = await look(nextName(path))
    if (held?.inode !== current.inode) {
      this.#askedAtMs = Number.NEGATIVE_INFINITY
      if (held !== undefined) await this.#putAway(heldName(path))
      if (next !== undefined && next.inode !== current.inode && next.bytes > 0) await this.#putAway(nextName(path))
      if (next?.inode === current.inode) await rename(nextName(path), heldName(path))
      else await link(path, heldName(path))
    }
    await this.#prepareNext()
    if (current.bytes >= fileBytes) await this.#askForNext()
    return current.bytes
  }

  /** The writer has ended: removes the names that were for it. */
  async finish(): Promise<void> {
    const { path } = this.#rotated
    await this.settle()
    const current = await look(path)
    const held = await look(heldName(path))
    const next = await look(nextName(path))
    if (held?.inode === current?.inode) await rm(heldName(path), { force: true })
    if (next?.bytes === 0) await rm(nextName(path), { force: true })
    await rm(`${path}.tmp`, { force: true })
  }

  async #prepareNext(): Promise<void> {
    const { path } = this.#rotated
    const next = await look(nextName(path))
    const draft = await look(`${path}.tmp`)
    if (next !== undefined && next.inode === draft?.inode) return
    // What conmon made itself is `log` a moment later; an old one of ours is empty.
    if (next === undefined) await (await open(nextName(path), 'a', 0o600)).close()
    if (draft !== undefined) return
    await link(nextName(path), `${path}.tmp`).catch((e: unknown) => {
      if (errnoOf(e) !== 'EEXIST') throw e
    })
  }

  async #putAway(name: string): Promise<void> {
    const { path, files } = this.#rotated
    const last = Math.min(maxGenerations, Math.max(2, files)) - 1
    let free = 1
    while (free < last && (await look(rotatedName(path, free))) !== undefined) free += 1
    for (let n = free; n > 1; n -= 1) await rename(rotatedName(path, n - 1), rotatedName(path, n))
    await rename(name, rotatedName(path, 1))
  }

  /** conmon's control message 2. A conmon that has ended needs none. */
  async #askForNext(): Promise<void> {
    const now = this.#clock.monotonicMs()
    if (now - this.#askedAtMs < askAgainMs) return
    this.#askedAtMs = now
    try {
      const control = await open(this.#rotated.controlPath, constants.O_WRONLY | constants.O_NONBLOCK)
      try {
        await control.write('2 0 0\n')
      } finally {
        await control.close()
      }
    } catch (e) {
      if (errnoOf(e) !== 'ENXIO' && errnoOf(e) !== 'ENOENT') throw e
    }
  }
}

interface Seen {
  readonly inode: number
  readonly bytes: number
}

async function look(path: string): Promise<Seen | undefined> {
  try {
    const { ino, size } = await stat(path)
    return { inode: ino, bytes: size }
  } catch (e) {
    if (errnoOf(e) === 'ENOENT') return undefined
    throw e
  }
}
