import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import { systemClock } from '../../base/clock.ts'
import { isFault } from '../../base/fault.ts'
import { silentLog } from '../../base/log.ts'
import type { ConsensusConfig } from '../../master/consensus/compose.ts'
import { type OpenReplica, openReplica } from '../../master/consensus/open-replica.ts'
import { highestFeatureLevel } from '../../master/state/cluster.ts'
import { type Disk, systemDisk } from '../../master/store/disk.ts'
import { listSnapshots, snapshotName } from '../../master/store/snapshots.ts'
import { newClusterId, newNodeId } from '../../proto/ids.ts'
import { content, decide, framework, never, put } from '../contract/replica.ts'
import { failingDisk } from '../support/failing-disk.ts'

const segmentBytes = 4096

async function newConfig(t: Test, more: Partial<ConsensusConfig> = {}): Promise<ConsensusConfig> {
  const directory = await mkdtemp(join(tmpdir(), 'hearth-replica-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  return { directory, clusterId: newClusterId(), nodeId: newNodeId(), segmentBytes, ...more }
}

async function open(t: Test, config: ConsensusConfig, disk: Disk = systemDisk): Promise<OpenReplica> {
  const replica = await openReplica({ log: silentLog, clock: systemClock, disk }, config)
  t.teardown(() => replica.close())
  return replica
}

async function fill(replica: OpenReplica, from: number, to: number): Promise<void> {
  for (let i = from; i <= to; i += 1) await decide(replica, '', 0, put('f', `k${i % 10}`, i % 256))
}

t.test('a second opening of the same directory is refused, and a failed one lets go of it', async (t) => {
  const config = await newConfig(t)
  const replica = await open(t, config)
  await t.rejects(open(t, config), { code: 'conflict', message: new RegExp(config.directory) })
  await replica.close()
  await t.rejects(open(t, { ...config, clusterId: newClusterId() }), { code: 'conflict' })
  await t.rejects(open(t, { ...config, nodeId: newNodeId() }), { code: 'conflict' })
  const again = await open(t, config)
  t.equal(again.leadership.term, 2)
})

t.test('a snapshot and the log after it give the same state as the whole log', async (t) => {
  const config = await newConfig(t, { trailingEntries: 20, window: { changes: 50, bytes: 1 << 20 } })
  const replica = await open(t, config)
  await decide(replica, 'a', 1, framework('f'))
  await fill(replica, 1, 200)
  const snapshotting = replica.snapshot()
  await fill(replica, 201, 260)
  await snapshotting
  await fill(replica, 261, 300)
  const before = content(replica.state)
  const { index } = replica.state
  const segments = (await systemDisk.list(join(config.directory, 'wal'))).filter((name) => name.endsWith('.wal'))
  t.notOk(segments.includes('0000000000000001.wal'), 'older segments are gone')
  const late = replica.changes(1, never())[Symbol.asyncIterator]().next()
  await t.rejects(late, { code: 'exhausted' })
  await replica.close()
  const again = await open(t, config)
  t.equal(content(again.state), before)
  t.equal(again.state.index, index + 1, 'only the no-op of the new term was added')
  t.ok(again.state.sessions.has('a'))
})

t.test('snapshots are taken as the log grows, and only the newest are kept', async (t) => {
  const config = await newConfig(t, { snapshotEveryBytes: 4096, trailingEntries: 5 })
  const replica = await open(t, config)
  await decide(replica, 'a', 1, framework('f'))
  await fill(replica, 1, 400)
  await replica.close()
  const snapshots = await listSnapshots(systemDisk, join(config.directory, 'snapshots'))
  t.ok(snapshots.length >= 1 && snapshots.length <= 3, `${snapshots.length} snapshots`)
  t.ok((await systemDisk.list(join(config.directory, 'wal'))).length < 12)
})

t.test('a damaged snapshot is refused and nothing is changed', async (t) => {
  const config = await newConfig(t)
  const replica = await open(t, config)
  await decide(replica, 'a', 1, framework('f'))
  await replica.snapshot()
  const path = join(config.directory, 'snapshots', snapshotName(replica.state.index))
  await replica.close()
  const bytes = await readFile(path)
  bytes.writeUInt8(bytes.readUInt8(20) ^ 1, 20)
  await writeFile(path, bytes)
  await t.rejects(open(t, config), { code: 'corrupt', detail: { path } })
  t.same(await readFile(path), bytes)
})

t.test(
  'when the log fails, what was in flight is unknown, leadership is lost, and a restart holds what was acknowledged',
  async (t) => {
    const config = await newConfig(t)
    let broken = false
    const disk = failingDisk((operation, path) => (broken && operation === 'sync' && path.endsWith('.wal') ? 'EIO' : undefined))
    const replica = await open(t, config, disk)
    await decide(replica, 'a', 1, framework('f'))
    await fill(replica, 1, 20)
    const acknowledged = content(replica.state)
    const failures: string[] = []
    replica.onFatal((failure) => failures.push(failure.code))
    const heard: string[] = []
    replica.leadership.watch(({ kind }) => heard.push(kind), never())
    const watching = replica
      .changes(replica.state.index + 1, never())
      [Symbol.asyncIterator]()
      .next()
    const watched = t.rejects(watching, { code: 'unavailable' })
    broken = true
    const outcomes = await Promise.all([1, 2, 3].map((i) => replica.propose('', 0, put('f', `lost${i}`, i), never())))
    t.same(outcomes, [{ kind: 'unknown' }, { kind: 'unknown' }, { kind: 'unknown' }])
    t.equal(content(replica.state), acknowledged, 'nothing that is not durable is seen')
    t.same(failures, ['unavailable'])
    t.same(heard, ['gained', 'lost'])
    await watched
    t.same(await replica.propose('', 0, put('f', 'later', 1), never()), { kind: 'not-leader', hint: '' })
    await t.rejects(replica.read(never()), { code: 'unavailable' })
    await replica.close()
    const again = await open(t, config)
    t.ok(again.state.storeOf('f').size >= 10)
    t.same(again.state.storeOf('f').get('k5')?.value, Uint8Array.of(15))
  }
)

t.test('a full disk refuses proposals with disk-full, and serves again when there is room', async (t) => {
  const config = await newConfig(t)
  let full = false
  const disk = failingDisk((operation, path, bytes) =>
    full && operation === 'write' && ((path.endsWith('.draft') && bytes === segmentBytes) || path.includes('snapshot'))
      ? 'ENOSPC'
      : undefined
  )
  const replica = await open(t, config, disk)
  await decide(replica, 'a', 1, framework('f'))
  full = true
  let outcome = await replica.propose('', 0, put('f', 'k', 1), never())
  for (let i = 0; i < 500 && outcome.kind === 'applied'; i += 1) outcome = await replica.propose('', 0, put('f', 'k', 1), never())
  t.match(outcome, { kind: 'refused', reason: 'disk-full' })
  t.match(await replica.propose('', 0, put('f', 'k', 1), never()), { kind: 'refused', reason: 'disk-full' })
  t.ok(replica.leadership.leading)
  full = false
  for (let i = 0; i < 200 && outcome.kind === 'refused'; i += 1) {
    await replica.snapshot()
    outcome = await replica.propose('', 0, put('f', 'k', 2), never())
  }
  t.match(outcome, { kind: 'applied' })
  await replica.close()
  t.same((await open(t, config)).state.storeOf('f').get('k')?.value, Uint8Array.of(2))
})

t.test('too much in flight is refused with overloaded; the rest is applied', async (t) => {
  const replica = await open(t, await newConfig(t, { maxInFlight: 4 }))
  const outcomes = await Promise.all(Array.from({ length: 10 }, (_, i) => replica.propose('', 0, framework(`f${i}`), never())))
  t.equal(outcomes.filter((o) => o.kind === 'applied').length, 4)
  t.equal(outcomes.filter((o) => o.kind === 'refused' && o.reason === 'overloaded').length, 6)
  t.match(await replica.propose('', 0, framework('after'), never()), { kind: 'applied' })
})

t.test('what is in flight at a stop is decided first', async (t) => {
  const replica = await open(t, await newConfig(t))
  const outcomes = Array.from({ length: 50 }, (_, i) => replica.propose('', 0, framework(`f${i}`), never()))
  await replica.close()
  for (const outcome of await Promise.all(outcomes)) t.equal(outcome.kind, 'applied')
})

t.test('a feature level that this build does not know is not proposed', async (t) => {
  const replica = await open(t, await newConfig(t))
  await t.rejects(replica.propose('', 0, { raiseFeatureLevel: { level: highestFeatureLevel + 1 } }, never()), {
    code: 'unsupported'
  })
})

t.test('a burst larger than one slice of the event loop is applied in order', async (t) => {
  const replica = await open(t, await newConfig(t, { segmentBytes: 1 << 20 }))
  await decide(replica, 'a', 1, framework('f'))
  const burst = Array.from({ length: 5000 }, (_, i) => replica.propose('', 0, put('f', `k${i % 50}`, i % 256), never()))
  const indexes = (await Promise.all(burst)).map((o) => (o.kind === 'applied' ? o.index : 0))
  t.same(
    indexes,
    indexes.map((_, i) => (indexes[0] ?? 0) + i)
  )
  t.same(replica.state.storeOf('f').get('k49')?.value, Uint8Array.of(4999 % 256))
})

t.test(
  'a master that is killed at any point, also while it takes snapshots, has lost nothing that it acknowledged',
  async (t) => {
    const config = await newConfig(t, { snapshotEveryBytes: 6000, trailingEntries: 10 })
    for (let round = 0; round < 3; round += 1) {
      const acknowledged = await killedMaster(t, config, 60 + 97 * round)
      const replica = await open(t, config)
      const rows = replica.state.storeOf('f')
      for (const [key, count] of acknowledged) {
        const value = Buffer.from(rows.get(key)?.value ?? []).toString()
        if (Number(value) < count) t.fail(`${key} is ${value}, ${count} was acknowledged`)
      }
      t.ok(acknowledged.size > 0)
      await replica.close()
    }
    t.ok((await listSnapshots(systemDisk, join(config.directory, 'snapshots'))).length > 0)
  }
)

/** The highest count that was acknowledged for each key. */
async function killedMaster(t: Test, config: ConsensusConfig, lines: number): Promise<Map<string, number>> {
  const loader = process.execArgv.filter((argument) => argument.startsWith('--import'))
  const script = new URL('../support/replica-child.ts', import.meta.url).pathname
  const child = spawn(process.execPath, [...loader, script, JSON.stringify(config)], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  const ended = new Promise((resolve) => child.once('exit', resolve))
  const seen = new Map<string, number>()
  let said = 0
  for await (const line of createInterface({ input: child.stdout })) {
    const [key = '', count] = line.split(' ')
    seen.set(key, Math.max(seen.get(key) ?? 0, Number(count)))
    said += 1
    if (said === lines) child.kill('SIGKILL')
  }
  await ended
  return seen
}

t.test('an opening that meets a failing disk rejects and leaves nothing held', async (t) => {
  const config = await newConfig(t)
  for (const operation of ['write', 'sync', 'rename', 'syncDirectory'] as const) {
    const disk = failingDisk((seen) => (seen === operation ? 'EIO' : undefined))
    const failure = await open(t, config, disk).catch((e: unknown) => e)
    t.ok(failure instanceof Error, operation)
    t.notOk(isFault(failure, 'corrupt'))
  }
  t.equal((await open(t, config)).leadership.leading, true)
})
