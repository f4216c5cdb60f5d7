import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { isFault } from '../../../base/fault.ts'
import { type RecoveredLog, recoverLog } from '../../../master/store/recovery.ts'
import { encodeLogRecord, encodeSegmentHead, segmentPath, walFormat } from '../../../master/store/segment.ts'
import { appendEach, entry, identity, newDirectory, openWal, told } from './wal-fixture.ts'

const sector = 512
const path = segmentPath('/log', 1)

function recover(bytes: Buffer): Promise<RecoveredLog | undefined> {
  const disk = { list: () => Promise.resolve([basename(path)]), readAll: () => Promise.resolve(bytes) }
  return recoverLog(disk, '/log', identity, 0)
}

/** The last index that was recovered, or where the damage was told to begin. */
async function outcome(bytes: Buffer): Promise<number | string> {
  try {
    return (await recover(bytes))?.lastIndex ?? -1
  } catch (e) {
    if (isFault(e, 'corrupt')) return `damaged at ${String(e.detail['offset'])}`
    throw e
  }
}

/** Thirty entries that were acknowledged, and one write of eight more, of which any sectors may have reached the disk. */
async function interruptedWrite(t: Test): Promise<{ before: Buffer; after: Buffer; changed: number[] }> {
  const directory = await newDirectory(t)
  const { wal } = await openWal(directory, { segmentBytes: 64 * 1024 })
  await appendEach(wal, 1, 30)
  const file = segmentPath(directory, 1)
  const before = await readFile(file)
  await wal.append(Array.from({ length: 8 }, (_, i) => entry(31 + i, 1, 40 + 150 * i)))
  const after = await readFile(file)
  await wal.close()
  const sectors = Array.from({ length: after.length / sector }, (_, i) => i)
  const differs = (s: number): boolean =>
    !before.subarray(s * sector, (s + 1) * sector).equals(after.subarray(s * sector, (s + 1) * sector))
  return { before, after, changed: sectors.filter(differs) }
}

t.test('whichever sectors of an unfinished write reached the disk, it is a torn write and no damage', async (t) => {
  const { before, after, changed } = await interruptedWrite(t)
  t.ok(changed.length > 8, `${changed.length} sectors`)
  const lasts = new Set<number>()
  await fc.assert(
    fc.asyncProperty(fc.subarray(changed), async (kept) => {
      const image = Buffer.from(before)
      for (const s of kept) after.copy(image, s * sector, s * sector, (s + 1) * sector)
      const recovered = await recover(image)
      const last = recovered?.lastIndex ?? 0
      lasts.add(last)
      const whole = Array.from({ length: last }, (_, i) => entry(i + 1, 1, i < 30 ? 20 : 40 + 150 * (i - 30)))
      return last >= 30 && told(recovered?.entries ?? []).join() === told(whole).join()
    }),
    { numRuns: 150 }
  )
  t.ok(lasts.has(30) && lasts.size > 3, `ended at ${[...lasts].join()}`)
})

t.test(
  'a sector of an acknowledged write that is gone is damage, and a hole of the write after it does not hide that',
  async (t) => {
    const { before, after, changed } = await interruptedWrite(t)
    const lost = sector
    t.ok(lost < (changed[0] ?? 0) * sector)
    t.match(await outcome(Buffer.from(after).fill(0, lost, lost + sector)), /^damaged at/)
    for (const s of changed.slice(1, -1)) {
      const image = Buffer.from(after)
        .fill(0, lost, lost + sector)
        .fill(0, s * sector, (s + 1) * sector)
      t.match(await outcome(image), /^damaged at/)
    }
    t.match(await outcome(Buffer.from(before).fill(0, lost, lost + sector)), /^damaged at/)
  }
)

t.test('a bit that turned over in the last write is damage, though all of it belongs to one write', async (t) => {
  const { before, after, changed } = await interruptedWrite(t)
  const end = after.toString('latin1').replace(/\0+$/, '').length
  const from = before.toString('latin1').replace(/\0+$/, '').length + 12
  t.ok(changed.length > 0)
  // Behind the flip there must be a whole record to tell by; the last one is longer than this.
  for (let at = from; at < end - 1_300; at += 37) {
    const image = Buffer.from(after)
    image.writeUInt8(image.readUInt8(at) ^ 4, at)
    t.match(await outcome(image), /^damaged at/, `bit of byte ${at}`)
  }
})

t.test(
  'records of older builds do not tell what was durable: sound ones after a hole count as damage, as they did',
  async (t) => {
    const head = encodeSegmentHead({ format: walFormat, ...identity, segment: 1, previousCrc: 0, firstIndex: 1, bytes: 8192 })
    const image = Buffer.alloc(8192)
    head.bytes.copy(image)
    let { crc } = head
    let at = head.bytes.length
    const places: number[] = []
    for (let index = 1; index <= 6; index += 1) {
      const record = encodeLogRecord({ entry: entry(index, 1, 700), acknowledgedIndex: 0 }, crc)
      record.bytes.copy(image, at)
      places.push(at)
      at += record.bytes.length
      crc = record.crc
    }
    t.equal(await outcome(image), 6)
    const third = Math.ceil((places[2] ?? 0) / sector) * sector
    t.equal(await outcome(Buffer.from(image).fill(0, third, third + sector)), `damaged at ${places[2]}`)
    t.equal(await outcome(Buffer.from(image).fill(0, places[5])), 5, 'nothing follows the last one')
  }
)
