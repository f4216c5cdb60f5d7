import { request } from 'node:http'
import { within } from '../../../base/clock.ts'
import { channels, encodeStreamFrame, encodeStreamJson, StreamFrameDecoder } from '../../../proto/stream-frame.ts'
import type { Stage } from './stage.ts'

export interface Answer {
  readonly status: number
  readonly body: Buffer
}

/** One request over the agent's socket; undefined where the agent, or the connection, ended before the answer did. */
function call(
  socketPath: string,
  method: string,
  path: string,
  body: Uint8Array | undefined,
  signal: AbortSignal
): Promise<Answer | undefined> {
  return new Promise((resolve) => {
    const gone = (): void => resolve(undefined)
    const sent = request({ socketPath, method, path, signal, headers: { connection: 'close' } }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', gone)
      response.on('close', () => {
        resolve(response.complete ? { status: response.statusCode ?? 0, body: Buffer.concat(chunks) } : undefined)
      })
    })
    sent.on('error', gone)
    sent.end(body)
  })
}

/** What the last frame of a stream said; undefined where the answer is none, or has none. */
export function endOf(answer: Answer | undefined): Readonly<Record<string, unknown>> | undefined {
  if (answer === undefined || answer.status !== 200) return undefined
  const end = new StreamFrameDecoder().push(answer.body).find((f) => f.channel === channels.end)
  return end === undefined ? undefined : (JSON.parse(Buffer.from(end.data).toString()) as Readonly<Record<string, unknown>>)
}

/** The body of an exec or attach whose client says all it has to say at once. */
export const openingOf = (open: unknown, input: string): Buffer =>
  Buffer.concat([
    encodeStreamJson(channels.open, open),
    ...(input === '' ? [] : [encodeStreamFrame(channels.stdin, Buffer.from(input))])
  ])

/** One request to the stage's agent; a delay may come between. */
export const answerOf = (s: Stage, method: string, path: string, body?: Uint8Array): Promise<Answer | undefined> =>
  call(s.world.socketPath, method, path, body, within(requestMs, s.signal))
const requestMs = 25_000
