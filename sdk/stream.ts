import { errnoOf, Fault, type FaultDetail, isFaultCode } from '../base/fault.ts'
import type { TaskStatus } from '../proto/gen/messages.ts'
import { channels, StreamFrameDecoder } from '../proto/stream-frame.ts'

/** What the last frame of a stream says, by the kind of stream. */
export interface StreamEnding {
  readonly status?: TaskStatus | null
  readonly exitCode?: number
  readonly image?: unknown
  readonly verdict?: unknown
}

/** Output of which is known that it was lost, and not how much of it. Times are wall time; 0 where not known. */
export interface LostOutput {
  readonly cause: string
  readonly fromMs: number
  readonly toMs: number
}

export type StreamPart =
  | { readonly kind: 'stdout' | 'stderr'; readonly data: Uint8Array }
  | { readonly kind: 'gap'; readonly gap: LostOutput }
  | { readonly kind: 'progress'; readonly value: unknown }
  | { readonly kind: 'end'; readonly ending: StreamEnding }

/** Yields parts as they come. Throws the Fault of an error frame, and `unavailable` where the stream stops without its last frame. */
export async function* readStream(body: AsyncIterable<Uint8Array>): AsyncGenerator<StreamPart> {
  const decoder = new StreamFrameDecoder()
  try {
    for await (const chunk of body) {
      for (const frame of decoder.push(chunk)) {
        const part = partOf(frame.channel, frame.data)
        if (part !== undefined) yield part
        if (part?.kind === 'end') return
      }
    }
  } catch (e) {
    if (errnoOf(e) !== 'ECONNRESET') throw e
    throw brokenOff(e)
  }
  throw brokenOff()
}

const brokenOff = (cause?: unknown): Fault =>
  new Fault('unavailable', 'the stream broke off before its end; the master or the agent may have been restarted', {}, cause)

function partOf(channel: number, data: Uint8Array): StreamPart | undefined {
  switch (channel) {
    case channels.stdout:
      return { kind: 'stdout', data }
    case channels.stderr:
      return { kind: 'stderr', data }
    case channels.gap:
      return { kind: 'gap', gap: parse(data) as LostOutput }
    case channels.progress:
      return { kind: 'progress', value: parse(data) }
    case channels.end:
      return { kind: 'end', ending: endingOf(parse(data)) }
    default:
      return undefined // a channel of a later version
  }
}

function endingOf(value: unknown): StreamEnding {
  const ending = value as StreamEnding & { error?: { code: string; message: string; detail?: FaultDetail } }
  const { error } = ending
  if (error === undefined) return ending
  throw new Fault(isFaultCode(error.code) ? error.code : 'unavailable', String(error.message), error.detail ?? {})
}

function parse(data: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(data).toString())
  } catch (cause) {
    throw new Fault('corrupt', 'a stream frame that should hold JSON does not', { bytes: data.length }, cause)
  }
}
