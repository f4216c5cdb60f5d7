import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { isFault } from '../../../base/fault.ts'
import { type Disk, systemDisk } from '../../../master/store/disk.ts'
import { listSnapshots, pruneSnapshots, readSnapshot, snapshotName, writeSnapshot } from '../../../master/store/snapshots.ts'
import { type DiskOperation, failingDisk } from '../../support/failing-disk.ts'
import { newDirectory } from './wal-fixture.ts'

const messages = [Buffer.alloc(0), Buffer.from('head'), Buffer.alloc(65_536, 1), Buffer.alloc(200_000, 2), Buffer.from('end')]

async function read(directory: string, index: number, disk: Disk = systemDisk): Promise<string> {
  const seen: string[] = []
  await readSnapshot(disk, directory, index, (message) => seen.push(Buffer.from(message).toString('base64')))
  return seen.join()
}

const whole = messages.map((m) => m.toString('base64')).join()

async function withSnapshot(t: Test): Promise<string> {
  const directory = await newDirectory(t)
  await writeSnapshot(systemDisk, directory, 7, messages)
  return directory
}

t.test('a snapshot gives its messages back', async (t) => {
  const directory = await withSnapshot(t)
  t.equal(await read(directory, 7), whole)
  t.same(await systemDisk.list(directory), [snapshotName(7)])
  await writeSnapshot(systemDisk, directory, 8, [])
  t.equal(await read(directory, 8), '')
})

t.test('a snapshot is synced before its rename, and the folder after it', async (t) => {
  const directory = await newDirectory(t)
  const steps: string[] = []
  const disk = failingDisk((operation) => {
    if (operation !== 'write') steps.push(operation)
    return undefined
  })
  await writeSnapshot(disk, directory, 7, messages)
  t.same(steps, ['create', 'sync', 'rename', 'syncDirectory'])
})

t.test('short writes are finished', async (t) => {
  const directory = await newDirectory(t)
  await writeSnapshot(
    failingDisk((operation) => (operation === 'write' ? 'short' : undefined)),
    directory,
    7,
    messages
  )
  t.equal(await read(directory, 7), whole)
})

t.test('damage anywhere in a snapshot is told with file and offset', async (t) => {
  const directory = await newDirectory(t)
  await writeSnapshot(systemDisk, directory, 7, [Buffer.from('head'), Buffer.alloc(300, 5)])
  const path = join(directory, snapshotName(7))
  const bytes = await readFile(path)
  for (let at = 0; at < bytes.length; at += 1) {
    const copy = Buffer.from(bytes)
    copy.writeUInt8(copy.readUInt8(at) ^ (1 << (at % 8)), at)
    const failure = await read(directory, 7, { ...systemDisk, readAll: () => Promise.resolve(copy) }).catch((e: unknown) => e)
    if (!isFault(failure, 'corrupt') || failure.detail['path'] !== path) t.fail(`byte ${at} changed unseen`)
  }
  for (let size = 0; size < bytes.length; size += 1) {
    const cut = bytes.subarray(0, size)
    const failure = await read(directory, 7, { ...systemDisk, readAll: () => Promise.resolve(cut) }).catch((e: unknown) => e)
    if (!isFault(failure, 'corrupt')) t.fail(`a cut at ${size} went unseen`)
  }
  await writeFile(path, Buffer.concat([bytes, Buffer.from('more')]))
  await t.rejects(read(directory, 7), { code: 'corrupt' })
})

for (const operation of ['create', 'write', 'sync', 'rename'] satisfies DiskOperation[]) {
  t.test(`a failed ${operation} leaves the older snapshot alone`, async (t) => {
    const directory = await withSnapshot(t)
    const disk = failingDisk((seen) => (seen === operation ? 'EIO' : undefined))
    await t.rejects(writeSnapshot(disk, directory, 9, messages), { code: 'EIO' })
    t.same(await listSnapshots(systemDisk, directory), [7])
    t.equal(await read(directory, 7), whole)
  })
}

t.test('only the newest snapshots are kept', async (t) => {
  const directory = await newDirectory(t)
  for (const index of [3, 20, 100]) await writeSnapshot(systemDisk, directory, index, messages)
  await writeFile(join(directory, 'notes.txt'), 'not a snapshot')
  await pruneSnapshots(systemDisk, directory, 2)
  t.same(await listSnapshots(systemDisk, directory), [20, 100])
  t.ok((await systemDisk.list(directory)).includes('notes.txt'))
})
