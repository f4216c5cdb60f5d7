import { request } from 'node:http'
import { type Channel, channels, encodeStreamFrame, encodeStreamJson, StreamFrameDecoder } from '../../proto/stream-frame.ts'

/** A client of one duplex stream of the local API, over its unix socket. */
export interface StreamClient {
  readonly status: number
  send(channel: Channel, data: Uint8Array | string): void
  sendJson(channel: Channel, value: unknown): void
  /** Ends what the client has to say. */
  close(): void
  /** Cuts the connection. */
  cut(): void
  /** Resolves when stdout and stderr together hold `text`. */
  saw(text: string): Promise<void>
  /** The value of the last frame, or the body of an HTTP error. */
  readonly end: Promise<unknown>
  readonly stdout: () => string
  readonly stderr: () => string
}

export function openStream(socketPath: string, path: string, open: unknown): Promise<StreamClient> {
  return new Promise((resolve, reject) => {
    const out = { 1: '', 2: '' }
    const waiting = new Set<() => void>()
    const call = request({ socketPath, path, method: 'POST', headers: { connection: 'close' } })
    call.on('error', reject)
    call.on('response', (answer) => {
      call.on('error', () => undefined)
      const decoder = new StreamFrameDecoder()
      let last: unknown
      let body = ''
      const end = new Promise((done, failed) => {
        answer.on('error', failed)
        answer.on('end', () => done(answer.statusCode === 200 ? last : JSON.parse(body)))
      })
      end.catch(() => undefined)
      answer.on('data', (chunk: Buffer) => {
        if (answer.statusCode !== 200) {
          body += chunk.toString()
          return
        }
        for (const { channel, data } of decoder.push(chunk)) {
          if (channel === channels.end) last = JSON.parse(Buffer.from(data).toString())
          else if (channel === 1 || channel === 2) out[channel] += Buffer.from(data).toString('latin1')
        }
        for (const look of waiting) look()
      })
      resolve({
        status: answer.statusCode ?? 0,
        send: (channel, data) => void call.write(encodeStreamFrame(channel, Buffer.from(data))),
        sendJson: (channel, value) => void call.write(encodeStreamJson(channel, value)),
        close: () => void call.end(),
        cut: () => void call.destroy(),
        saw: (text) =>
          new Promise((seen) => {
            const look = (): void => {
              if (!out[1].includes(text) && !out[2].includes(text)) return
              waiting.delete(look)
              seen()
            }
            waiting.add(look)
            look()
          }),
        end,
        stdout: () => out[1],
        stderr: () => out[2]
      })
    })
    call.write(encodeStreamJson(channels.open, open))
  })
}
