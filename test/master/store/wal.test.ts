import { open, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { isFault } from '../../../base/fault.ts'
import { silentLog } from '../../../base/log.ts'
import { readRecord } from '../../../base/record-chain.ts'
import { systemDisk } from '../../../master/store/disk.ts'
import { draftName, segmentNumber, segmentPath } from '../../../master/store/segment.ts'
import { Wal } from '../../../master/store/wal.ts'
import { decodeMessage } from '../../../proto/codec.ts'
import type { LogRecord } from '../../../proto/gen/messages.ts'
import { type DiskOperation, failingDisk } from '../../support/failing-disk.ts'
import { appendEach, entry, identity, newDirectory, openWal, told } from './wal-fixture.ts'

async function recordsOf(path: string): Promise<LogRecord[]> {
  const bytes = await readFile(path)
  const records: LogRecord[] = []
  let crc = 0
  for (let read = readRecord(bytes, 0, 0); read.kind === 'record'; read = readRecord(bytes, read.record.end, crc)) {
    records.push(decodeMessage('LogRecord', read.record.body))
    crc = read.record.crc
  }
  return records
}

const segmentsOf = async (directory: string): Promise<string[]> =>
  (await systemDisk.list(directory)).filter((name) => segmentNumber(name) !== undefined)

t.test(
  'rule 1: a segment is a file of full size, zeroed and synced before its rename, and the next one lies ready',
  async (t) => {
    const directory = await newDirectory(t)
    const steps: string[] = []
    const disk = failingDisk((operation, path) => {
      steps.push(`${operation} ${path.slice(directory.length + 1)}`)
      return undefined
    })
    const { wal } = await openWal(directory, { disk, segmentBytes: 8192 })
    await appendEach(wal, 1, 3)
    await wal.close()
    const first = segmentPath(directory, 1).slice(directory.length + 1)
    const upToRename = steps.slice(0, steps.indexOf(`rename ${first}`) + 2)
    t.same(upToRename, [
      'syncDirectory ',
      `create ${draftName(1)}`,
      `write ${draftName(1)}`,
      `sync ${draftName(1)}`,
      `write ${draftName(1)}`,
      `sync ${draftName(1)}`,
      `rename ${first}`,
      'syncDirectory '
    ])
    t.equal((await readFile(segmentPath(directory, 1))).length, 8192)
    t.same(await readFile(join(directory, draftName(2))), Buffer.alloc(8192))
  }
)

t.test('rule 2: each segment begins with cluster, node, number, the last CRC before it and its first index', async (t) => {
  const directory = await newDirectory(t)
  const { wal } = await openWal(directory)
  await appendEach(wal, 1, 250)
  await wal.close()
  const names = await segmentsOf(directory)
  t.ok(names.length >= 3)
  let next = 1
  for (const [i, name] of names.entries()) {
    const [first, ...rest] = await recordsOf(join(directory, name))
    t.match(first?.head, { ...identity, format: 1, segment: i + 1, firstIndex: next, bytes: 4096 })
    next = Math.max(next, ...rest.map((r) => (r.entry?.index ?? 0) + 1))
  }
  t.equal(next, 251)
})

t.test('rule 3: a truncation is a record of its own; no byte that was written changes', async (t) => {
  const directory = await newDirectory(t)
  const { wal } = await openWal(directory)
  await appendEach(wal, 1, 10)
  const before = (await readFile(segmentPath(directory, 1))).toString('latin1').replace(/\0+$/, '')
  await wal.truncate(6)
  await wal.append([entry(6, 2), entry(7, 2)])
  await wal.close()
  const after = (await readFile(segmentPath(directory, 1))).toString('latin1')
  t.ok(after.startsWith(before))
  const { wal: again, recovered } = await openWal(directory)
  t.same(told(recovered.entries), told([1, 2, 3, 4, 5].map((i) => entry(i)).concat([entry(6, 2), entry(7, 2)])))
  await again.close()
})

t.test('rule 3: a crash right after a truncation leaves the truncated log', async (t) => {
  const directory = await newDirectory(t)
  const { wal } = await openWal(directory)
  await appendEach(wal, 1, 10)
  await wal.truncate(4)
  const image = await readFile(segmentPath(directory, 1))
  await wal.close()
  await writeFile(segmentPath(directory, 1), image)
  const { wal: again, recovered } = await openWal(directory)
  t.equal(recovered.lastIndex, 3)
  await again.append([entry(4, 2)])
  await again.close()
})

t.test('rule 5: what follows an acknowledged entry says so', async (t) => {
  const directory = await newDirectory(t)
  const { wal } = await openWal(directory)
  await appendEach(wal, 1, 5)
  await wal.close()
  const records = await recordsOf(segmentPath(directory, 1))
  for (const [i, record] of records.entries()) {
    const written = records.slice(0, i).reduce((last, r) => Math.max(last, r.entry?.index ?? 0), 0)
    t.equal(record.acknowledgedIndex, written)
  }
  t.equal(records.at(-1)?.acknowledgedIndex, 5, 'a clean end vouches for the last entry')
})

t.test('rule 5: a torn tail is dropped, and its bytes are zeros before the log goes on', async (t) => {
  const directory = await newDirectory(t)
  const { wal } = await openWal(directory)
  await appendEach(wal, 1, 3)
  const path = segmentPath(directory, 1)
  const durable = await readFile(path)
  await wal.append([entry(4, 1, 300)])
  const torn = await readFile(path)
  await wal.close()
  const used = durable.toString('latin1').replace(/\0+$/, '').length
  torn.fill(0, used + 100)
  await writeFile(path, torn)
  const { wal: again, recovered } = await openWal(directory)
  t.equal(recovered.lastIndex, 3)
  t.ok(recovered.tail.tornBytes > 0)
  t.same(await readFile(path), durable)
  await again.append([entry(4)])
  await again.close()
})

t.test('rule 5: damage in an older segment is corruption, told with file and offset, and nothing is cut', async (t) => {
  const directory = await newDirectory(t)
  const { wal } = await openWal(directory)
  await appendEach(wal, 1, 250)
  await wal.close()
  const path = segmentPath(directory, 1)
  const bytes = await readFile(path)
  bytes.writeUInt8(bytes.readUInt8(500) ^ 1, 500)
  await writeFile(path, bytes)
  await t.rejects(openWal(directory), { code: 'corrupt', detail: { path } })
  t.same(await readFile(path), bytes)
})

t.test('rule 5: a log without one of its segments is corrupt', async (t) => {
  const directory = await newDirectory(t)
  const { wal } = await openWal(directory)
  await appendEach(wal, 1, 250)
  await wal.close()
  await systemDisk.remove(segmentPath(directory, 2))
  await t.rejects(openWal(directory), { code: 'corrupt', detail: { path: segmentPath(directory, 3) } })
})

t.test('rule 5: records that no finished fdatasync vouches for are written and synced anew before the log opens', async (t) => {
  const directory = await newDirectory(t)
  const { wal } = await openWal(directory)
  await appendEach(wal, 1, 3)
  const image = await readFile(segmentPath(directory, 1))
  await wal.close()
  await writeFile(segmentPath(directory, 1), image)
  const steps: string[] = []
  const disk = failingDisk((operation, path, bytes) => {
    if (path.endsWith('.wal')) steps.push(`${operation} ${bytes > 0 ? 'bytes' : ''}`)
    return undefined
  })
  const { wal: again } = await openWal(directory, { disk })
  t.same(steps.slice(0, 3), ['open ', 'write bytes', 'sync '])
  await again.close()
})

for (const operation of ['write', 'sync', 'rename', 'syncDirectory'] satisfies DiskOperation[]) {
  t.test(`rule 6: after one failed ${operation} the log is dead for ever`, async (t) => {
    const directory = await newDirectory(t)
    let armed = false
    let attempts = 0
    const disk = failingDisk((seen, path) => {
      if (!armed || seen !== operation || path.endsWith('.draft')) return undefined
      attempts += 1
      return 'EIO'
    })
    const { wal } = await openWal(directory, { disk })
    await appendEach(wal, 1, 2)
    const failures: string[] = []
    wal.onFailure((failure) => failures.push(failure.message))
    armed = true
    const lost = Array.from({ length: 100 }, (_, i) => entry(i + 3))
    await t.rejects(wal.append(lost), { code: 'unavailable' })
    armed = false
    await t.rejects(wal.append([entry(103)]), { code: 'unavailable' })
    await t.rejects(wal.saveHardState({ term: 9, votedFor: '', commit: 0 }), { code: 'unavailable' })
    t.equal(attempts, 1, 'no second try')
    t.equal(failures.length, 1)
    t.match(failures[0], /EIO/)
    wal.onFailure(() => failures.push('late'))
    t.equal(failures.length, 2, 'who asks later hears it too')
    await wal.close()
    const { wal: again, recovered } = await openWal(directory)
    t.same(told(recovered.entries).slice(0, 2), told([entry(1), entry(2)]))
    await again.close()
  })
}

t.test('rule 6: a short write is finished', async (t) => {
  const directory = await newDirectory(t)
  const { wal } = await openWal(directory, { disk: failingDisk((operation) => (operation === 'write' ? 'short' : undefined)) })
  await appendEach(wal, 1, 50)
  await wal.close()
  const { wal: again, recovered } = await openWal(directory)
  t.equal(recovered.lastIndex, 50)
  await again.close()
})

t.test('rule 7: with a full disk the log says so early, hard state still fits, and space freed ends it', async (t) => {
  const directory = await newDirectory(t)
  let full = false
  const disk = failingDisk((operation, path, bytes) =>
    // Filling with zeros needs new blocks; what has them goes on.
    full && operation === 'write' && path.endsWith('.draft') && bytes === 4096 ? 'ENOSPC' : undefined
  )
  const { wal } = await openWal(directory, { disk })
  await appendEach(wal, 1, 5)
  t.notOk(wal.isFull)
  full = true
  let last = 5
  while (!wal.isFull) {
    last += 1
    await wal.append([entry(last)])
    t.ok(last < 1000)
  }
  for (let term = 1; term <= 20; term += 1) await wal.saveHardState({ term, votedFor: 'me', commit: last })
  full = false
  wal.relieve()
  await wal.releaseReserve()
  wal.relieve()
  await wal.close()
  t.notOk(wal.isFull)
  const { wal: again, recovered } = await openWal(directory)
  t.equal(recovered.lastIndex, last)
  t.equal(recovered.hardState.term, 20)
  await again.close()
})

t.test('a log of another node or cluster is refused by name', async (t) => {
  const directory = await newDirectory(t)
  await (await openWal(directory)).wal.close()
  const path = segmentPath(directory, 1)
  const bytes = await readFile(path)
  t.ok(bytes.includes(identity.clusterId))
  const config = { directory, clusterId: 'e'.repeat(32), nodeId: identity.nodeId, segmentBytes: 4096, keepAfter: 0 }
  const foreign = new Wal({ disk: systemDisk, log: silentLog }, config)
  await t.rejects(foreign.open(), { code: 'conflict' })
  await foreign.close()
  t.same(await readFile(path), bytes)
})

t.test('appends of one turn of the event loop share one fdatasync', async (t) => {
  const directory = await newDirectory(t)
  let syncs = 0
  const disk = failingDisk((operation, path) => {
    if (operation === 'sync' && path.endsWith('.wal')) syncs += 1
    return undefined
  })
  const { wal } = await openWal(directory, { segmentBytes: 1024 * 1024, disk })
  const before = syncs
  await Promise.all(Array.from({ length: 500 }, (_, i) => wal.append([entry(i + 1)])))
  t.ok(syncs - before <= 2, `${syncs - before} for 500 entries`)
  t.equal(wal.acknowledgedIndex, 500)
  await wal.close()
})

t.test('compaction removes whole segments below an index and keeps the last hard state', async (t) => {
  const directory = await newDirectory(t)
  const { wal } = await openWal(directory)
  await wal.saveHardState({ term: 3, votedFor: 'me', commit: 0 })
  await appendEach(wal, 1, 150, 3)
  const segments = wal.segments.length
  await wal.compact(100)
  t.ok(wal.segments.length < segments)
  await wal.close()
  const { wal: again, recovered } = await openWal(directory, { keepAfter: 99 })
  t.ok(recovered.firstIndex > 1 && recovered.firstIndex <= 100)
  t.same(told(recovered.entries), told(Array.from({ length: 51 }, (_, i) => entry(i + 100, 3))))
  t.same(recovered.hardState, { term: 3, votedFor: 'me', commit: 0, vote: 0 })
  await again.close()
})

t.test('an entry larger than a segment gets a segment of its own size', async (t) => {
  const directory = await newDirectory(t)
  const { wal } = await openWal(directory)
  await wal.append([entry(1), entry(2, 1, 50_000), entry(3)])
  await wal.close()
  const { wal: again, recovered } = await openWal(directory)
  t.same(told(recovered.entries), told([entry(1), entry(2, 1, 50_000), entry(3)]))
  await again.close()
})

t.test('a leftover draft of a crash is no part of the log', async (t) => {
  const directory = await newDirectory(t)
  const { wal } = await openWal(directory)
  await appendEach(wal, 1, 3)
  await wal.close()
  const draft = await open(join(directory, draftName(7)), 'w')
  await draft.write('half a segment')
  await draft.close()
  const { wal: again, recovered } = await openWal(directory)
  t.equal(recovered.lastIndex, 3)
  t.notOk((await systemDisk.list(directory)).includes(draftName(7)))
  await appendEach(again, 4, 200)
  await again.close()
})

t.test('a snapshot without its log is refused', async (t) => {
  const failure = await openWal(await newDirectory(t), { keepAfter: 7 }).catch((e: unknown) => e)
  t.ok(isFault(failure, 'corrupt'))
})

t.test('looking for space at any moment never touches the segment that is being taken into use', async (t) => {
  const directory = await newDirectory(t)
  const { wal } = await openWal(directory)
  const nag = new AbortController()
  const nagging = (async () => {
    while (!nag.signal.aborted) {
      wal.relieve()
      await new Promise((resolve) => setImmediate(resolve))
    }
  })()
  await appendEach(wal, 1, 400)
  nag.abort()
  await nagging
  await wal.close()
  const { wal: again, recovered } = await openWal(directory)
  t.equal(recovered.lastIndex, 400)
  await again.close()
})
