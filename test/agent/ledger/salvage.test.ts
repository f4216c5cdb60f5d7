import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { openLedger } from '../../../agent/ledger/ledger.ts'
import { scanLedger } from '../../../agent/ledger/salvage.ts'
import { silentLog } from '../../../base/log.ts'
import { encodeRecord } from '../../../base/record-chain.ts'
import { encodeMessage } from '../../../proto/codec.ts'
import { fuzzRuns } from '../../support/fuzz-runs.ts'
import { objectRow, statusRow, taskRow } from './support.ts'

const seed = 1

interface Written {
  readonly bytes: Buffer
  /** Where each record ends. */
  readonly ends: readonly number[]
}

function written(count: number): Written {
  const parts: Buffer[] = []
  const ends: number[] = []
  let crc = seed
  let end = 0
  for (let n = 1; n <= count; n += 1) {
    const fact = n % 3 === 0 ? taskRow(n, 'i'.repeat(n)) : n % 3 === 1 ? statusRow(n, n) : objectRow(n, 'intent')
    const record = encodeRecord(encodeMessage('LedgerRecord', { ...fact, sequence: n }), crc)
    crc = record.crc
    parts.push(record.bytes)
    end += record.bytes.length
    ends.push(end)
  }
  return { bytes: Buffer.concat(parts), ends }
}

const sequences = (bytes: Uint8Array): number[] =>
  scanLedger(bytes, seed).items.flatMap((item) => (item.kind === 'record' ? [item.record.sequence] : []))
const gaps = (bytes: Uint8Array): number => scanLedger(bytes, seed).items.filter((item) => item.kind === 'gap').length
const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1)

t.test('cut anywhere, every whole record is kept and the half one is no damage', async (t) => {
  const { bytes, ends } = written(12)
  for (let length = 0; length <= bytes.length; length += 1) {
    const whole = ends.filter((end) => end <= length).length
    const scan = scanLedger(bytes.subarray(0, length), seed)
    if (scan.items.length !== whole || scan.items.some((item) => item.kind === 'gap')) t.fail(`cut at ${length}`)
    if (scan.end !== (ends[whole - 1] ?? 0) || scan.tornBytes !== length - scan.end) t.fail(`cut at ${length}: wrong end`)
  }
  t.pass('all lengths')
})

t.test('zeros behind the last record are no damage', async (t) => {
  const { bytes, ends } = written(5)
  const scan = scanLedger(Buffer.concat([bytes, Buffer.alloc(5_000)]), seed)
  t.equal(scan.items.length, 5)
  t.equal(scan.end, ends.at(-1))
  t.equal(scan.tornBytes, 5_000)
})

t.test('one byte changed anywhere costs at most the record it is in, and what is lost is told', async (t) => {
  const { bytes, ends } = written(12)
  for (let at = 0; at < bytes.length; at += 1) {
    for (const bit of [1, 0x80, 0xff]) {
      const damaged = Buffer.from(bytes)
      damaged[at] = (damaged[at] ?? 0) ^ bit
      const hit = ends.findIndex((end) => at < end) + 1
      const seen = sequences(damaged)
      const wanted = upTo(12).filter((n) => n !== hit)
      if (!wanted.every((n) => seen.includes(n))) t.fail(`byte ${at} ^ ${bit}: ${seen}`)
      const isWhole = seen.includes(hit)
      const isTorn = hit === 12 && scanLedger(damaged, seed).tornBytes > 0
      if (gaps(damaged) !== (isWhole || isTorn ? 0 : 1)) t.fail(`byte ${at} ^ ${bit}: ${gaps(damaged)} gaps`)
    }
  }
  t.pass('all bytes')
})

t.test('any stretch overwritten: nothing untrue is shown, and all that stands two records away is kept', async (t) => {
  const { bytes, ends } = written(30)
  const starts = [0, ...ends]
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.uint8Array({ minLength: 1, maxLength: 700 }), (at, noise) => {
      const damaged = Buffer.from(bytes)
      damaged.set(noise.subarray(0, bytes.length - at), at)
      const seen = sequences(damaged)
      const until = Math.min(bytes.length, at + noise.length)
      const first = ends.findIndex((end) => at < end)
      const after = starts.findIndex((start) => start >= until)
      const sure = upTo(30).filter((n) => n <= first || (after >= 0 && n > after + 1))
      return sure.every((n) => seen.includes(n)) && seen.every((n, i) => i === 0 || n > (seen[i - 1] ?? 0))
    }),
    { numRuns: fuzzRuns(400) }
  )
  t.pass('held')
})

t.test('any bytes at all are read without an error', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), fc.boolean(), (noise, withHead) => {
      const bytes = withHead ? Buffer.concat([Buffer.from('HKR1'), noise, Buffer.from('HKR1'), noise]) : noise
      scanLedger(bytes, seed)
    }),
    { numRuns: fuzzRuns(1_000) }
  )
  t.pass('held')
})

t.test('two damages with sound records between them are two gaps', async (t) => {
  const { bytes, ends } = written(20)
  const damaged = Buffer.from(bytes)
  for (const n of [4, 12]) damaged.fill(0xee, (ends[n - 1] ?? 0) + 14, (ends[n - 1] ?? 0) + 20)
  t.same(
    sequences(damaged),
    upTo(20).filter((n) => n !== 5 && n !== 13)
  )
  t.equal(gaps(damaged), 2)
})

t.test('the file of another number is not taken for this one', async (t) => {
  const { bytes } = written(3)
  t.equal(scanLedger(bytes, seed + 1).items.filter((item) => item.kind === 'gap').length, 1)
})

t.test('the agent starts with whatever stands in its directory, and can write', async (t) => {
  const root = t.testdir()
  const { bytes } = written(6)
  await fc.assert(
    fc.asyncProperty(fc.nat(bytes.length), fc.uint8Array({ maxLength: 60 }), fc.nat(1_000_000), async (at, noise, name) => {
      const directory = join(root, String(name))
      await openLedger({ log: silentLog }, { directory, reserveBytes: 1 }).then((ledger) => ledger.close())
      await writeFile(join(directory, 'ledger-1.log'), Buffer.concat([bytes.subarray(0, at), noise]))
      const ledger = await openLedger({ log: silentLog }, { directory, reserveBytes: 1 })
      await ledger.append(taskRow(77), 'disk')
      await ledger.close()
      const again = await openLedger({ log: silentLog }, { directory, reserveBytes: 1 })
      await again.close()
      return [...again.view.tasks.values()].some((task) => task.row.group?.tasks[0]?.taskId === 't-77')
    }),
    { numRuns: fuzzRuns(60) }
  )
  t.pass('held')
})
