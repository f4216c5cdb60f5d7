import { crc32 } from 'node:zlib'
import { Fault } from '../base/fault.ts'

/**
 * Frames of the agent link: u32 length | u32 crc | u8 type | body, big-endian. `length` counts type and body, `crc` covers both.
 * One frame is one message.
 */
export const maxFrameBytes = 4 * 1024 * 1024
const headBytes = 8

export interface Frame {
  readonly type: number
  readonly body: Uint8Array
}

/** Throws `Fault('exhausted')` where the body is over the limit: the other side would cut the connection. */
export const encodeFrame = (type: number, body: Uint8Array, maxBytes = maxFrameBytes): Buffer =>
  encodeFrameBefore(type, body, nothing, maxBytes)

/** The frame of a body whose end, `rest`, is sent right after what this gives out, as it lies. Throws as `encodeFrame`. */
export function encodeFrameBefore(type: number, body: Uint8Array, rest: Uint8Array, maxBytes = maxFrameBytes): Buffer {
  const length = body.length + rest.length + 1
  if (length > maxBytes) {
    throw new Fault('exhausted', `a message of ${length - 1} bytes is over the limit of ${maxBytes - 1}`)
  }
  const frame = Buffer.allocUnsafe(headBytes + 1 + body.length)
  frame.writeUInt32BE(length, 0)
  frame.writeUInt8(type, headBytes)
  frame.set(body, headBytes + 1)
  const crc = crc32(frame.subarray(headBytes))
  frame.writeUInt32BE(rest.length === 0 ? crc : crc32(rest, crc), 4)
  return frame
}

const nothing = new Uint8Array()
const nothingHeld: Buffer = Buffer.alloc(0)

/** Collects bytes as they come and gives out whole frames. Holds at most one frame's bytes. */
export class FrameDecoder {
  #held = nothingHeld
  readonly #maxBytes: number

  constructor(maxBytes = maxFrameBytes) {
    this.#maxBytes = maxBytes
  }

  /** Throws `Fault('corrupt')` for an impossible length or a wrong checksum; the connection must then be closed. */
  push(chunk: Uint8Array): Frame[] {
    this.#held = this.#held.length === 0 ? Buffer.from(chunk) : Buffer.concat([this.#held, chunk])
    const frames: Frame[] = []
    let at = 0
    while (this.#held.length - at >= headBytes) {
      const length = this.#held.readUInt32BE(at)
      if (length < 1 || length > this.#maxBytes) throw new Fault('corrupt', `a frame of ${length} bytes is refused`, { length })
      const end = at + headBytes + length
      if (this.#held.length < end) break
      const payload = this.#held.subarray(at + headBytes, end)
      if (crc32(payload) !== this.#held.readUInt32BE(at + 4)) throw new Fault('corrupt', 'a frame with a wrong checksum')
      frames.push({ type: payload.readUInt8(0), body: payload.subarray(1) })
      at = end
    }
    // Also a part without bytes would keep all that it is a part of.
    this.#held = at === this.#held.length ? nothingHeld : this.#held.subarray(at)
    return frames
  }

  /** Bytes of an unfinished frame. */
  get pending(): number {
    return this.#held.length
  }
}
