import { errnoOf, Fault, isFault } from '../../base/fault.ts'
import { channels, type StreamFrame, StreamFrameDecoder } from '../../proto/stream-frame.ts'

/**
 * The frames of a request's body, one by one. To be read by hand with `next`: a `for await` that is left early would close the
 * body and with it the connection that the answer still needs.
 */
export async function* readFrames(body: AsyncIterable<Uint8Array>): AsyncGenerator<StreamFrame, void, undefined> {
  const decoder = new StreamFrameDecoder()
  for await (const chunk of body) yield* decoder.push(chunk)
}

export type FrameInput = AsyncIterator<StreamFrame>

/** What a frame of the client asks for. Throws `Fault('invalid')` for a channel that clients do not have. */
export interface InputSink {
  stdin(data: Uint8Array): Promise<void>
  stdinEnd(): void
  resize(rows: number, columns: number): void | Promise<void>
  signal(name: string): void | Promise<void>
}

/** Delivers frames until the input ends. */
export async function feed(input: FrameInput, sink: InputSink): Promise<void> {
  for (let next = await input.next(); next.done !== true; next = await input.next()) await deliver(next.value, sink)
}

/**
 * What a stream ends with where input of the client did not reach a program that still ran: its exit code is our doing then.
 * Undefined where the other side had closed before: its own end tells.
 */
export function lostInput(e: unknown): Fault | undefined {
  if (isFault(e)) return e
  if (closedBefore.has(errnoOf(e) ?? '')) return undefined
  return new Fault('unavailable', `the input did not reach the program: ${String(e)}`, {}, e)
}

const closedBefore = new Set([
  'EPIPE',
  'ECONNRESET',
  'ENOTCONN',
  'ERR_STREAM_DESTROYED',
  'ERR_STREAM_WRITE_AFTER_END',
  'ABORT_ERR'
])

async function deliver(frame: StreamFrame, sink: InputSink): Promise<void> {
  switch (frame.channel) {
    case channels.stdin:
      return await sink.stdin(frame.data)
    case channels.stdinEnd:
      return sink.stdinEnd()
    case channels.resize: {
      const { rows, columns } = parseSize(parseJson(frame.data))
      return await sink.resize(rows, columns)
    }
    case channels.signal: {
      const { signal } = parseJson(frame.data)
      if (typeof signal !== 'string') throw new Fault('invalid', 'a signal frame holds {"signal": "SIGINT"} or the like')
      return await sink.signal(signal)
    }
    default:
      throw new Fault('invalid', `channel ${frame.channel} is not for clients`)
  }
}

/** The JSON object of a frame. */
export function parseJson(data: Uint8Array): Readonly<Record<string, unknown>> {
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(data))
  } catch (cause) {
    throw new Fault('invalid', 'a frame that should hold JSON does not', {}, cause)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new Fault('invalid', 'a frame that should hold a JSON object holds something else')
  }
  return { ...value }
}

/** Absent or zero means 24 rows and 80 columns. */
export function parseSize(value: Readonly<Record<string, unknown>>): { readonly rows: number; readonly columns: number } {
  return { rows: dimension(value['rows'], 24), columns: dimension(value['columns'], 80) }
}

function dimension(value: unknown, absent: number): number {
  if (value === undefined || value === null || value === 0) return absent
  if (typeof value === 'number' && Number.isInteger(value) && value > 0 && value <= 65_535) return value
  throw new Fault('invalid', 'rows and columns are whole numbers from 1 to 65535')
}
