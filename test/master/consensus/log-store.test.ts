import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { silentLog } from '../../../base/log.ts'
import { LogStore, type SnapshotFacts } from '../../../master/consensus/log-store.ts'
import { genesisOf } from '../../../master/consensus/membership.ts'
import type { Entry } from '../../../master/raft/entry.ts'
import { appendThread, type Message, message } from '../../../master/raft/message.ts'
import { systemDisk } from '../../../master/store/disk.ts'

const membership = genesisOf([{ raftId: 1, nodeId: 'n', address: '', agentAddress: '' }])
const fresh: SnapshotFacts = { index: 0, term: 0, membership, isForeign: false }

async function newDirectory(t: Test): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'hearth-log-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  return directory
}

async function open(directory: string, newest = fresh): Promise<LogStore> {
  const config = { directory, clusterId: 'c', nodeId: 'n', raftId: 1, segmentBytes: 4096, trailingEntries: 0, tailBytes: 300 }
  const store = new LogStore({ disk: systemDisk, log: silentLog, onSnapshotWanted: () => undefined }, config, newest)
  try {
    await store.open()
  } catch (e) {
    await store.close()
    throw e
  }
  return store
}

const entry = (index: number, term: number): Entry => ({ index, term, type: 'normal', data: new Uint8Array(20).fill(index) })

function write(term: number, vote: number, commit: number, entries: readonly Entry[]): Message {
  return Object.assign(message('storage-append', appendThread), { term, vote, commit, entries })
}

t.test('what was written comes back; entries of a later term replace those they conflict with', async (t) => {
  const directory = await newDirectory(t)
  const store = await open(directory)
  await store.write(write(1, 1, 0, [entry(1, 1), entry(2, 1), entry(3, 1)]))
  await store.write(write(3, 2, 1, [entry(2, 3)]))
  t.equal(store.lastIndex(), 2)
  await store.write(write(3, 2, 2, []))
  await store.close()
  const again = await open(directory)
  t.same(again.initialState().hardState, { term: 3, vote: 2, commit: 2 }, 'a commit index alone is kept by a planned stop')
  t.same([again.term(1), again.term(2), again.term(3)], [1, 3, undefined])
  await again.close()
})

t.test('entries of a term whose hard state was torn off raise the term, and no vote counts in it', async (t) => {
  const directory = await newDirectory(t)
  const store = await open(directory)
  await store.write(write(2, 1, 0, [entry(1, 2)]))
  await store.write(Object.assign(write(0, 0, 0, [entry(2, 5)]), { term: 0 }))
  await store.close()
  const again = await open(directory)
  t.same(again.initialState().hardState, { term: 5, vote: 0, commit: 0 })
  await again.close()
})

t.test('a snapshot of another master stands for the log, also where a crash came before the log was voided', async (t) => {
  const directory = await newDirectory(t)
  const store = await open(directory)
  await store.write(write(1, 1, 0, [entry(1, 1), entry(2, 1)]))
  await store.close()
  const foreign: SnapshotFacts = { index: 40, term: 6, membership, isForeign: true }
  const mended = await open(directory, foreign)
  t.same([mended.firstIndex(), mended.lastIndex(), mended.term(40)], [41, 40, 6])
  t.same(mended.initialState().hardState, { term: 6, vote: 0, commit: 40 })
  await mended.write(write(6, 0, 40, [entry(41, 6)]))
  await mended.close()
  const again = await open(directory, foreign)
  t.same([again.firstIndex(), again.lastIndex()], [41, 41])
  await again.close()
  await t.rejects(open(directory, fresh), { code: 'corrupt' }, 'without that snapshot the log has no beginning')
})

t.test('a log that does not reach its own snapshot, or has another past, is damaged', async (t) => {
  const directory = await newDirectory(t)
  const store = await open(directory)
  await store.write(write(2, 1, 2, [entry(1, 1), entry(2, 2)]))
  await store.close()
  await t.rejects(open(directory, { ...fresh, index: 5, term: 2 }), { code: 'corrupt' })
  await t.rejects(open(directory, { ...fresh, index: 2, term: 1 }), { code: 'corrupt' })
  const sound = await open(directory, { ...fresh, index: 2, term: 2 })
  t.equal(sound.lastIndex(), 2)
  await sound.close()
})

t.test('memory holds as much of what is applied as it has room for, and the term before it', async (t) => {
  const store = await open(await newDirectory(t))
  const entries = Array.from({ length: 100 }, (_, i) => entry(i + 1, 1))
  await store.write(write(1, 1, 100, entries))
  t.equal(store.firstIndex(), 1)
  store.applied(90)
  t.equal(store.firstIndex(), 86, '300 bytes are 15 entries')
  t.equal(store.term(85), 1)
  t.equal(store.term(84), undefined)
  t.equal(store.entries(85, 90, 1000), undefined)
  t.same(
    store.entries(90, 100, 70)?.map((e) => e.index),
    [90, 91],
    'within the bytes that were asked for'
  )
  await store.close()
})
