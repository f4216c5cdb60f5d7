import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import protobuf from 'protobufjs'
import t from 'tap'
import { isFault } from '../../base/fault.ts'
import { decodeKeeping, decodeMessage, encodeKeeping, encodeMessage } from '../../proto/codec.ts'
import { messages, nameOf, types } from '../support/any-message.ts'
import { fuzzRuns } from '../support/fuzz-runs.ts'

// protobufjs' own reflection over the same .proto files is what the generated codecs must agree with, byte for byte.
const asPlain = { defaults: true, enums: String, arrays: true, objects: true } as const

/** As the codec, it takes no 64-bit number that is not exact, wherever it stands. */
class SafeReader extends protobuf.BufferReader {
  override int64(): never {
    const value: unknown = super.int64()
    if (!Number.isSafeInteger(value)) throw new RangeError('not a safe integer')
    return value as never
  }
}

function reflected(type: protobuf.Type, bytes: Buffer, keep: boolean): protobuf.Message {
  const reader = new SafeReader(bytes)
  reader.discardUnknown = !keep
  return type.decode(reader)
}

/** A field that no message has: number 900, of each wire type. */
const strangers = ['a038ac02', 'a13800000000000000ff', 'a2380568656c6c6f', 'a338a03801a438', 'a538000000ff'].map((hex) =>
  Buffer.from(hex, 'hex')
)

/** Bytes as a peer of another version, a damage or an attacker may make them. */
const damage = fc.array(
  fc.record({
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    cut: fc.nat(3),
    put: fc.oneof(fc.uint8Array({ maxLength: 4 }), fc.constantFrom(...strangers))
  }),
  { maxLength: 3 }
)

function damaged(bytes: Uint8Array, wounds: readonly { at: number; cut: number; put: Uint8Array }[]): Buffer {
  let left = Buffer.from(bytes)
  for (const { at, cut, put } of wounds) {
    const offset = Math.floor(at * left.length)
    left = Buffer.concat([left.subarray(0, offset), put, left.subarray(offset + cut)])
  }
  return left
}

const outcome = (make: () => unknown): unknown => {
  try {
    return { made: make() }
  } catch (e) {
    if (e instanceof Error) return isFault(e) && !isFault(e, 'invalid') ? e : 'refused'
    throw e
  }
}

for (const type of types) {
  const name = nameOf(type)
  t.test(`${name} is the bytes and the object that its definition says`, async () => {
    fc.assert(
      fc.property(messages(type), messages(type), damage, (value, other, wounds) => {
        const expected = Buffer.from(type.encode(type.fromObject(value)).finish())
        if (!expected.equals(encodeMessage(name, value))) return false
        const { bytes, plain } = encodeKeeping(name, value)
        if (!expected.equals(bytes) || !isDeepStrictEqual(plain, decodeMessage(name, expected))) return false
        // Two messages one after the other are their union, in which a message within them that stands in both is merged.
        const foreign = damaged(Buffer.concat([expected, encodeMessage(name, other)]), wounds)
        const asReflected = outcome(() => type.toObject(reflected(type, foreign, false), asPlain))
        if (
          !isDeepStrictEqual(
            asReflected,
            outcome(() => decodeMessage(name, foreign))
          )
        )
          return false
        const again = outcome(() => Buffer.from(type.encode(reflected(type, foreign, true)).finish()))
        return isDeepStrictEqual(
          again,
          outcome(() => Buffer.from(encodeMessage(name, decodeKeeping(name, foreign))))
        )
      }),
      { numRuns: fuzzRuns(60) }
    )
  })
}

t.test('every message of the .proto files has been compared', async (t) => {
  t.ok(types.length > 70, `${types.length} messages`)
})
