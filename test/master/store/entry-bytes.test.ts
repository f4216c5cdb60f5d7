import fc from 'fast-check'
import t from 'tap'
import { readRecord } from '../../../base/record-chain.ts'
import { entryBytes, writeEntry } from '../../../master/store/entry-bytes.ts'
import { RecordSlice } from '../../../master/store/record-slice.ts'
import { encodeLogRecord } from '../../../master/store/segment.ts'
import { encodeMessage } from '../../../proto/codec.ts'

const whole = fc.oneof(fc.nat(300), fc.maxSafeNat())
const anEntry = fc.record({ term: whole, index: whole, type: fc.nat(2), data: fc.uint8Array({ maxLength: 400 }) })

t.test('an entry has the bytes that protobuf has', async () => {
  fc.assert(
    fc.property(anEntry, fc.nat(5), (entry, at) => {
      const expected = encodeMessage('LogEntry', entry)
      const into = Buffer.alloc(at + expected.length + 3, 0xff)
      const end = writeEntry(into, at, entry, entry.type)
      return (
        end === at + expected.length &&
        entryBytes(entry, entry.type) === expected.length &&
        into.subarray(at, end).equals(expected) &&
        into.subarray(end).every((byte) => byte === 0xff)
      )
    })
  )
})

t.test(
  'a slice has the records that are encoded one by one, also beyond the memory that it keeps, and again when it is empty',
  async (t) => {
    const slice = new RecordSlice()
    const records = fc.array(
      fc.record({
        entry: fc.oneof(anEntry, fc.constant({ term: 1, index: 2, type: 0, data: new Uint8Array(70_000) })),
        vouched: fc.record({ acknowledgedIndex: whole, syncedBytes: whole }),
        isHardState: fc.boolean()
      }),
      { maxLength: 6 }
    )
    fc.assert(
      fc.property(records, (drawn) => {
        slice.clear()
        const expected: Buffer[] = []
        let crc = 7
        for (const { entry, vouched, isHardState } of drawn) {
          const record = isHardState ? { hardState: { term: entry.term, commit: entry.index } } : { entry }
          const one = encodeLogRecord({ ...record, ...vouched }, crc)
          expected.push(one.bytes)
          const before = slice.length
          slice.add(record, { acknowledgedIndex: 0, syncedBytes: 0 }, crc)
          slice.cutTo(before)
          const added = slice.add(record, vouched, crc)
          if (added !== one.crc) return false
          crc = added
        }
        return Buffer.concat(expected).equals(slice.bytes)
      })
    )
    slice.clear()
    const crc = slice.add({ hardState: { term: 3 } }, { acknowledgedIndex: 1, syncedBytes: 0 }, 9)
    const read = readRecord(slice.bytes, 0, 9)
    t.match(read, { kind: 'record', record: { end: slice.length, crc } })
  }
)
