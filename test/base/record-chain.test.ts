import fc from 'fast-check'
import t from 'tap'
import { encodeRecord, findRecordHead, maxRecordBytes, readRecord, recordHeadBytes, storedCrc } from '../../base/record-chain.ts'

function chain(bodies: readonly Uint8Array[], seed = 0): { bytes: Buffer; offsets: number[] } {
  const parts: Buffer[] = []
  const offsets: number[] = []
  let crc = seed
  let at = 0
  for (const body of bodies) {
    const encoded = encodeRecord(body, crc)
    parts.push(encoded.bytes)
    offsets.push(at)
    at += encoded.bytes.length
    crc = encoded.crc
  }
  return { bytes: Buffer.concat(parts), offsets }
}

function bodiesOf(bytes: Uint8Array, seed = 0): { bodies: Buffer[]; how: string; at: number } {
  const bodies: Buffer[] = []
  let crc = seed
  let at = 0
  for (;;) {
    const read = readRecord(bytes, at, crc)
    if (read.kind !== 'record') return { bodies, how: read.kind, at }
    bodies.push(Buffer.from(read.record.body))
    at = read.record.end
    crc = read.record.crc
  }
}

const someBodies = fc.array(fc.uint8Array({ maxLength: 50 }), { minLength: 1, maxLength: 8 })

t.test('what was encoded is read back, with zeros or nothing behind it', async (t) => {
  fc.assert(
    fc.property(someBodies, fc.nat(40), fc.nat(0xffffffff), (bodies, zeros, seed) => {
      const read = bodiesOf(Buffer.concat([chain(bodies, seed).bytes, Buffer.alloc(zeros)]), seed)
      return read.how === 'end' && JSON.stringify(read.bodies) === JSON.stringify(bodies.map((b) => Buffer.from(b)))
    })
  )
  t.pass()
})

t.test('a change of any byte breaks the chain at its record, and what stands before is sound', async (t) => {
  const { bytes, offsets } = chain([Buffer.from('one'), Buffer.alloc(0), Buffer.from('three'), Buffer.alloc(300, 7)])
  for (let at = 0; at < bytes.length; at += 1) {
    for (const flip of [1, 0x80, 0xff]) {
      const copy = Buffer.from(bytes)
      copy.writeUInt8(copy.readUInt8(at) ^ flip, at)
      const read = bodiesOf(copy)
      const hit = offsets.findLast((offset) => offset <= at) ?? 0
      if (read.how !== 'broken' || read.at !== hit) t.fail(`byte ${at}: ${read.how} at ${read.at}`)
    }
  }
  t.pass('every change was seen')
})

t.test('a chain cut at any byte gives the whole records before the cut', async (t) => {
  const bodies = [Buffer.from('one'), Buffer.from('two'), Buffer.from('three')]
  const { bytes, offsets } = chain(bodies)
  for (let size = 0; size <= bytes.length; size += 1) {
    const read = bodiesOf(bytes.subarray(0, size))
    const whole = [...offsets.slice(1), bytes.length].filter((end) => end <= size).length
    if (read.bodies.length !== whole) t.fail(`cut at ${size}: ${read.bodies.length} records instead of ${whole}`)
  }
  t.pass('every cut was read')
})

t.test('a record does not continue another chain', async (t) => {
  const { bytes } = encodeRecord(Buffer.from('x'), 1)
  t.equal(readRecord(bytes, 0, 1).kind, 'record')
  t.match(readRecord(bytes, 0, 2), { kind: 'broken', why: /chain/ })
})

t.test('an impossible length is broken and is not read', async (t) => {
  const { bytes } = encodeRecord(Buffer.from('x'), 0)
  bytes.writeUInt32LE(maxRecordBytes + 1, 4)
  t.match(readRecord(bytes, 0, 0), { kind: 'broken', why: /over the limit/ })
  bytes.writeUInt32LE(2, 4)
  t.match(readRecord(bytes, 0, 0), { kind: 'broken', why: /past the end/ })
})

t.test('random bytes never make the reader throw', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(120), fc.nat(0xffffffff), (bytes, offset, seed) => {
      readRecord(bytes, offset, seed)
      findRecordHead(bytes, offset)
      return true
    })
  )
  t.pass()
})

t.test('salvage finds the next head and the CRC it carries', async (t) => {
  const { bytes, offsets } = chain([Buffer.from('one'), Buffer.from('two')])
  const second = offsets[1] ?? 0
  t.equal(findRecordHead(bytes, 0), 0)
  t.equal(findRecordHead(bytes, 1), second)
  t.equal(findRecordHead(bytes, second + 1), -1)
  t.equal(readRecord(bytes, second, storedCrc(bytes, 0)).kind, 'record')
  t.equal(second, recordHeadBytes + 3)
})
