import fc from 'fast-check'
import t from 'tap'
import { isFault } from '../../base/fault.ts'
import { encodeFrame, FrameDecoder, maxFrameBytes } from '../../proto/frame.ts'

const bytes = (max: number) => fc.uint8Array({ maxLength: max })

t.test('frames come out as they went in, however the stream is cut', async (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.integer({ min: 0, max: 255 }), bytes(300)), { maxLength: 8 }),
      fc.array(fc.nat(40)),
      (frames, cuts) => {
        const stream = Buffer.concat(frames.map(([type, body]) => encodeFrame(type, body)))
        const decoder = new FrameDecoder()
        const seen: [number, string][] = []
        let at = 0
        for (let i = 0; at < stream.length; i += 1) {
          const step = (cuts[i % Math.max(1, cuts.length)] ?? 7) + 1
          for (const f of decoder.push(stream.subarray(at, at + step))) seen.push([f.type, Buffer.from(f.body).toString('hex')])
          at += step
        }
        t.strictSame(
          seen,
          frames.map(([type, body]) => [type, Buffer.from(body).toString('hex')])
        )
        t.equal(decoder.pending, 0)
      }
    ),
    { numRuns: 200 }
  )
})

t.test('any flipped bit of a frame is refused or waits for more, and never yields a frame', async (t) => {
  const frame = encodeFrame(7, Buffer.from('a launch'))
  for (let bit = 0; bit < frame.length * 8; bit += 1) {
    const broken = Buffer.from(frame)
    broken.writeUInt8(broken.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
    const decoder = new FrameDecoder()
    let got = 0
    try {
      got = decoder.push(broken).length
    } catch (e) {
      t.ok(isFault(e, 'corrupt'), `bit ${bit}`)
    }
    t.equal(got, 0, `bit ${bit}`)
  }
})

t.test('random bytes give a corrupt fault or nothing, and never more memory than a frame', async () => {
  fc.assert(
    fc.property(bytes(4096), (garbage) => {
      const decoder = new FrameDecoder()
      try {
        decoder.push(garbage)
      } catch (e) {
        return isFault(e, 'corrupt')
      }
      return decoder.pending <= garbage.length
    }),
    { numRuns: 500 }
  )
})

t.test('a length over the limit is refused as soon as it is seen', async (t) => {
  const head = Buffer.alloc(8)
  head.writeUInt32BE(maxFrameBytes + 1, 0)
  t.throws(() => new FrameDecoder().push(head), { code: 'corrupt' })
  t.throws(() => encodeFrame(1, Buffer.alloc(maxFrameBytes)), { code: 'exhausted' })
})
