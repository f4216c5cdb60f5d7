/**
 * A record of conmon's that a full disk cut off. The kernel gives room in blocks, so a write that finds none ends at a multiple
 * of the block size, and conmon drops the rest of it (its writev_buffer_flush never tries again). Whatever it writes next, once
 * there is room, begins exactly there: the head of a record at a multiple of 512, with no newline before it, is the sign. No
 * record of a log that lost nothing looks like that, but for a program that prints such heads itself, at such an offset.
 */
const blockBytes = 512
const newline = 0x0a
const two = 0x32
/** `2026-11-22T02:00:00.000000000+00:00 stdout F `: what conmon's strftime gives, with either stream and either tag. */
const headPattern = /^(2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}[+-]\d\d:\d\d) std(?:out|err) [FP] /
const headBytes = '2026-11-22T02:00:00.000000000+00:00 stdout F '.length

/** Offset in `bytes` of the first record that follows a tear, or -1. `at` is the offset of `bytes[0]` in its file. */
export function findTear(bytes: Buffer, at: number, from = 1): number {
  const first = Math.max(1, from)
  for (let i = first + ((blockBytes - ((at + first) % blockBytes)) % blockBytes); i < bytes.length; i += blockBytes) {
    if (bytes[i] === two && bytes[i - 1] !== newline && headTimeMs(bytes, i) !== undefined) return i
  }
  return -1
}

/** The time in the head of the record that begins at `i`; undefined where none begins there. */
export function headTimeMs(bytes: Buffer, i: number): number | undefined {
  const found = headPattern.exec(bytes.toString('latin1', i, i + headBytes))?.[1]
  const ms = found === undefined ? Number.NaN : Date.parse(found)
  return Number.isNaN(ms) ? undefined : ms
}

/** How many bytes after an offset must be there to know whether a record begins at it. */
export const tearLookahead = headBytes
