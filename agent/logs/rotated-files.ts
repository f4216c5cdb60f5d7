import { closeSync, constants, linkSync, openSync, readSync, renameSync, rmSync, statSync, writeSync } from 'node:fs'
import type { Clock } from '../../base/clock.ts'
import { errnoOf } from '../../base/fault.ts'
import type { LogGap } from './gap.ts'
import { heldName, maxGenerations, nextName, rotatedName } from './generations.ts'
import { headTimeMs, tearLookahead } from './tear.ts'

export interface RotatedLog {
  readonly path: string
  /** conmon's control pipe in the bundle. */
  readonly controlPath: string
  readonly fileBytes: number
  /** All files of the log together, the one being written included. At least 2. */
  readonly files: number
  /** A file whose first record is older is put away even where it is small; 0: never. */
  readonly maxAgeMs?: number
}

export interface Settled {
  /** Of the file being written. */
  readonly inode: number
  readonly bytes: number
  /** Until its age is a reason to begin a new one. */
  readonly ageLeftMs: number
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
  readonly #onGap: (gap: LogGap) => void
  #askedAtMs = Number.NEGATIVE_INFINITY
  #first: { readonly inode: number; readonly atMs: number } | undefined

  /** `onGap` must have kept the gap when it returns: what tells of it goes right after. */
  constructor(rotated: RotatedLog, clock: Clock, onGap: (gap: LogGap) => void) {
    this.#rotated = rotated
    this.#clock = clock
    this.#onGap = onGap
  }

  /** Puts names in order and asks for a new file where it is time. */
  settle(): Settled | undefined {
    const { path, fileBytes } = this.#rotated
    const current = look(path)
    if (current === undefined) return undefined
    const held = look(heldName(path))
    const next = look(nextName(path))
    if (held?.inode !== current.inode) {
      this.#tellOverrun(current, held, next)
      this.#askedAtMs = Number.NEGATIVE_INFINITY
      if (held !== undefined) this.#putAway(heldName(path))
      if (next !== undefined && next.inode !== current.inode && next.bytes > 0) this.#putAway(nextName(path))
      if (next?.inode === current.inode) renameSync(nextName(path), heldName(path))
      else linkSync(path, heldName(path))
    }
    this.#prepareNext()
    const ageLeftMs = this.#ageLeftMs(current)
    if (current.bytes >= fileBytes || ageLeftMs <= 0) this.#askForNext()
    return { inode: current.inode, bytes: current.bytes, ageLeftMs }
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

  /**
   * conmon that passes its own limit a third time with nobody looking replaces a file that has no second name. The kernel tells:
   * by the rename that takes its name a file changes (its ctime), just after its follower was made; so a current file that is
   * younger than the last change of the newest file we know is not the one that followed it.
   */
  #tellOverrun(current: Seen, held: Seen | undefined, next: Seen | undefined): void {
    const isOlder = (file: Seen | undefined): boolean => file !== undefined && file.inode !== current.inode
    const known = isOlder(next) && (next?.bytes ?? 0) > 0 ? next : isOlder(held) ? held : look(rotatedName(this.#rotated.path, 1))
    if (known === undefined || current.bornMs === 0 || current.bornMs <= known.changedMs) return
    this.#onGap({ cause: 'unattended_bound', fromMs: Math.round(known.modifiedMs), toMs: Math.round(current.bornMs) })
  }

  #ageLeftMs({ inode, bytes }: Seen): number {
    const { path, maxAgeMs = 0 } = this.#rotated
    if (maxAgeMs === 0 || bytes === 0) return Number.POSITIVE_INFINITY
    if (this.#first?.inode !== inode) {
      const atMs = firstRecordMs(path)
      if (atMs === undefined) return Number.POSITIVE_INFINITY
      this.#first = { inode, atMs }
    }
    return this.#first.atMs + maxAgeMs - this.#clock.wallMs()
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
  readonly modifiedMs: number
  readonly changedMs: number
  /** 0 where the file system does not know. */
  readonly bornMs: number
}

function look(path: string): Seen | undefined {
  const facts = statSync(path, { throwIfNoEntry: false })
  if (facts === undefined) return undefined
  const { ino, size, mtimeMs, ctimeMs, birthtimeMs } = facts
  return { inode: ino, bytes: size, modifiedMs: mtimeMs, changedMs: ctimeMs, bornMs: birthtimeMs }
}

function firstRecordMs(path: string): number | undefined {
  const file = openSync(path, 'r')
  try {
    const head = Buffer.alloc(tearLookahead)
    return readSync(file, head, 0, head.length, 0) === head.length ? headTimeMs(head, 0) : undefined
  } finally {
    closeSync(file)
  }
}
