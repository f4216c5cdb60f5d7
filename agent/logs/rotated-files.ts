import { closeSync, constants, linkSync, openSync, renameSync, rmSync, statSync, writeSync } from 'node:fs'
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
 * Synchronous: a dozen looks at names take microseconds here and a millisecond through the thread pool.
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
  settle(): number | undefined {
    const { path, fileBytes } = this.#rotated
    const current = look(path)
    if (current === undefined) return undefined
    const held = look(heldName(path))
    const next = look(nextName(path))
    if (held?.inode !== current.inode) {
      this.#askedAtMs = Number.NEGATIVE_INFINITY
      if (held !== undefined) this.#putAway(heldName(path))
      if (next !== undefined && next.inode !== current.inode && next.bytes > 0) this.#putAway(nextName(path))
      if (next?.inode === current.inode) renameSync(nextName(path), heldName(path))
      else linkSync(path, heldName(path))
    }
    this.#prepareNext()
    if (current.bytes >= fileBytes) this.#askForNext()
    return current.bytes
  }

  /** The writer has ended: removes the names that were for it. */
  finish(): void {
    const { path } = this.#rotated
    this.settle()
    const current = look(path)
    const held = look(heldName(path))
    const next = look(nextName(path))
    if (held?.inode === current?.inode) rmSync(heldName(path), { force: true })
    if (next?.bytes === 0) rmSync(nextName(path), { force: true })
    rmSync(`${path}.tmp`, { force: true })
  }

  /**
   * conmon truncates what it opens as `log.tmp`: that name must never be given to the file it writes already. Hence the order of
   * the looks: where `log.tmp` is gone because conmon has just taken it, the look at `log` that follows sees which file it took.
   */
  #prepareNext(): void {
    const { path } = this.#rotated
    const next = look(nextName(path))
    const draft = look(`${path}.tmp`)
    const writtenTo = look(path)
    if (draft !== undefined && draft.inode === writtenTo?.inode) rmSync(`${path}.tmp`, { force: true })
    // What conmon made itself is `log` a moment later; an old one of ours is empty.
    else if (draft !== undefined) return
    if (next === undefined) closeSync(openSync(nextName(path), 'a', 0o600))
    else if (next.inode === writtenTo?.inode) return
    try {
      linkSync(nextName(path), `${path}.tmp`)
    } catch (e) {
      if (errnoOf(e) !== 'EEXIST') throw e
    }
  }

  #putAway(name: string): void {
    const { path, files } = this.#rotated
    const last = Math.min(maxGenerations, Math.max(2, files)) - 1
    let free = 1
    while (free < last && look(rotatedName(path, free)) !== undefined) free += 1
    for (let n = free; n > 1; n -= 1) renameSync(rotatedName(path, n - 1), rotatedName(path, n))
    renameSync(name, rotatedName(path, 1))
  }

  /** conmon's control message 2. A conmon that has ended needs none. */
  #askForNext(): void {
    const now = this.#clock.monotonicMs()
    if (now - this.#askedAtMs < askAgainMs) return
    this.#askedAtMs = now
    try {
      const control = openSync(this.#rotated.controlPath, constants.O_WRONLY | constants.O_NONBLOCK)
      try {
        writeSync(control, '2 0 0\n')
      } finally {
        closeSync(control)
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

function look(path: string): Seen | undefined {
  const facts = statSync(path, { throwIfNoEntry: false })
  return facts === undefined ? undefined : { inode: facts.ino, bytes: facts.size }
}
