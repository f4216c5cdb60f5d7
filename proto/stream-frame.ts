import { Fault } from '../base/fault.ts'

/**
 * Byte streams of tasks over HTTP bodies (`application/vnd.hearth.stream`), both ways:
 * u8 channel | u32 length, big-endian | data. Used by logs, exec, attach and image import.
 */
export const streamContentType = 'application/vnd.hearth.stream'
export const maxStreamFrameBytes = 256 * 1024

export const channels = {
  /** client -> host: bytes for the program's standard input */
  stdin: 0,
  /** host -> client */
  stdout: 1,
  /** host -> client */
  stderr: 2,
  /** host -> client, JSON, always the last frame: `{status}` for logs and attach, `{exitCode}` for exec, `{image}` for import, or `{error}` */
  end: 3,
  /** client -> host, JSON `{rows, columns}` */
  resize: 4,
  /** client -> host, empty: standard input is at its end */
  stdinEnd: 5,
  /** client -> host, JSON `{signal}`, a name such as `SIGINT` */
  signal: 6,
  /** host -> client, JSON: how far long work has come */
  progress: 7,
  /** client -> host, JSON, always the first frame of a duplex stream: what is asked for */
  open: 8,
  /** host -> client, JSON `{cause, fromMs, toMs}`: output that is known to be lost stood here; how much is not known */
  gap: 9
} as const

export type Channel = (typeof channels)[keyof typeof channels]

export interface StreamFrame {
  readonly channel: number
  readonly data: Uint8Array
}

export function encodeStreamFrame(channel: Channel, data: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(5 + data.length)
  frame.writeUInt8(channel, 0)
  frame.writeUInt32BE(data.length, 1)
  frame.set(data, 5)
  return frame
}

export const encodeStreamJson = (channel: Channel, value: unknown): Buffer =>
  encodeStreamFrame(channel, Buffer.from(JSON.stringify(value)))

/** Collects bytes and gives out whole frames; holds at most one frame. Throws `Fault('invalid')` for an impossible length. */
export class StreamFrameDecoder {
  #held: Buffer = Buffer.alloc(0)

  push(chunk: Uint8Array): StreamFrame[] {
    this.#held = this.#held.length === 0 ? Buffer.from(chunk) : Buffer.concat([this.#held, chunk])
    const frames: StreamFrame[] = []
    let at = 0
    while (this.#held.length - at >= 5) {
      const length = this.#held.readUInt32BE(at + 1)
      if (length > maxStreamFrameBytes) throw new Fault('invalid', `a stream frame of ${length} bytes is refused`)
      if (this.#held.length - at - 5 < length) break
      frames.push({ channel: this.#held.readUInt8(at), data: this.#held.subarray(at + 5, at + 5 + length) })
      at += 5 + length
    }
    this.#held = this.#held.subarray(at)
    return frames
  }
}
