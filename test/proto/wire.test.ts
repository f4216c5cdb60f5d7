import fc from 'fast-check'
import t from 'tap'
import { isFault } from '../../base/fault.ts'
import { decodeMessage, encodeMessage } from '../../proto/codec.ts'
import { encodeFrame, FrameDecoder } from '../../proto/frame.ts'
import { agreeProtocol, decodeWire, encodeWire } from '../../proto/wire.ts'

const only = (bytes: Uint8Array) => {
  const [frame] = new FrameDecoder().push(bytes)
  if (frame === undefined) throw new Error('no frame')
  return frame
}

t.test('a message that crosses the wire is complete on the other side', async (t) => {
  const got = decodeWire(only(encodeWire('Kill', { frameworkId: 'f', taskId: 't', epoch: 3, policy: { graceMs: 5 } })))
  t.strictSame(JSON.parse(JSON.stringify(got)), {
    kind: 'Kill',
    message: { epoch: 3, frameworkId: 'f', taskId: 't', attempt: 0, policy: { signal: '', graceMs: 5 } }
  })
})

t.test('optional facts stay absent', async (t) => {
  const status = decodeMessage('TaskStatus', encodeMessage('TaskStatus', { taskId: 'a', state: 'finished', exitCode: 0 }))
  t.equal(status.exitCode, 0)
  t.equal(status.signal, undefined)
  t.equal(status.state, 'finished')
})

t.test('64-bit fields beyond 2^53 are refused in both directions', async (t) => {
  t.throws(() => encodeMessage('Resource', { name: 'cpus', scalar: 2 ** 53 }), { code: 'invalid' })
  t.throws(() => encodeMessage('TaskGroup', { tasks: [{ resources: [{ scalar: Number.NaN }] }] }), { code: 'invalid' })
  // field 3 (scalar), varint 2^60
  const wide = Buffer.from([0x18, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10])
  t.throws(() => decodeMessage('Resource', wide), { code: 'invalid' })
  const most = Number.MAX_SAFE_INTEGER
  t.equal(decodeMessage('Resource', encodeMessage('Resource', { scalar: most })).scalar, most)
})

t.test('an unknown frame type is unsupported, a broken body invalid', async (t) => {
  t.throws(() => decodeWire(only(encodeFrame(250, Buffer.alloc(0)))), { code: 'unsupported' })
  t.throws(() => decodeWire(only(encodeFrame(20, Buffer.from([0x0a, 0xff])))), { code: 'invalid' })
})

t.test('random bodies of every frame type decode or are refused with a fault', async () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 40 }), fc.uint8Array({ maxLength: 200 }), (type, body) => {
      try {
        decodeWire({ type, body })
        return true
      } catch (e) {
        return isFault(e, 'invalid') || isFault(e, 'unsupported')
      }
    }),
    { numRuns: 3_000 }
  )
})

t.test('fields that a later version adds are ignored', async (t) => {
  const later = Buffer.concat([encodeMessage('HeartbeatAnswer', { sequence: 4 }), Buffer.from([0xa2, 0x06, 0x02, 0x68, 0x69])])
  t.equal(decodeMessage('HeartbeatAnswer', later).sequence, 4)
})

t.test('bytes of version 1 still decode', async (t) => {
  const golden = Buffer.from('0a0b6865617274682d7461736b73120474202d31180132056167656e7438033a00', 'hex')
  t.throws(() => decodeMessage('TaskStatus', golden), { code: 'invalid' }, 'field 7 as text is no reason')
  const status = encodeMessage('TaskStatus', { frameworkId: 'f', taskId: 't', attempt: 1, state: 'running', number: 9 })
  t.equal(Buffer.from(status).toString('hex'), '0a01661201741801' + '3003' + '6009')
})

t.test('two sides agree on the highest protocol they share, or on none', async (t) => {
  t.equal(agreeProtocol(1, 9), 1)
  t.throws(() => agreeProtocol(2, 9), { code: 'unsupported' })
  t.throws(() => agreeProtocol(0, 0), { code: 'unsupported' })
})
