import t from 'tap'
import { channels, encodeStreamFrame } from '../../proto/stream-frame.ts'
import { readStream } from '../../sdk/stream.ts'

t.test('a connection that is reset in mid-stream is told as a break, not as a bug', async (t) => {
  const reset = async function* (): AsyncGenerator<Uint8Array> {
    yield encodeStreamFrame(channels.stdout, Buffer.from('a'))
    throw Object.assign(new Error('aborted'), { code: 'ECONNRESET' })
  }
  const seen: string[] = []
  const read = async (): Promise<void> => {
    for await (const part of readStream(reset())) seen.push(part.kind)
  }
  await t.rejects(read(), { code: 'unavailable', message: /broke off/ })
  t.same(seen, ['stdout'])
})
