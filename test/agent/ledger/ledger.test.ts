import { existsSync } from 'node:fs'
import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { diskFiles } from '../../../agent/ledger/files.ts'
import { openLedger } from '../../../agent/ledger/ledger.ts'
import { ledgerLevel } from '../../../agent/ledger/level.ts'
import { type Fault, isFault } from '../../../base/fault.ts'
import { silentLog } from '../../../base/log.ts'
import { completeMessage } from '../../../proto/codec.ts'
import { containerId, faultyFiles, objectRow, statusRow, taskRow } from './support.ts'

const parts = { log: silentLog }
const small = (directory: string) => ({ directory, reserveBytes: 4096 })
const logsIn = async (directory: string): Promise<string[]> => (await readdir(directory)).filter((n) => n.startsWith('ledger-'))

t.test('what was appended is there after a restart', async (t) => {
  const directory = t.testdir()
  const first = await openLedger(parts, small(directory))
  await first.append({ head: { agentId: 'a', clusterId: 'c', epoch: 7 } }, 'disk')
  await first.append(taskRow(1), 'disk')
  await first.append(objectRow(1, 'intent', 'x'), 'kernel')
  await first.append(objectRow(1, 'done', 'y'), 'kernel')
  await first.append(objectRow(1, 'released', 'x'), 'kernel')
  await first.append(statusRow(1, 1), 'disk')
  await first.append({ kill: { containerId: containerId(1), policy: { signal: 'SIGTERM', graceMs: 5 } } }, 'disk')
  await first.append(taskRow(2), 'disk')
  await first.append({ forget: { containerId: containerId(2) } }, 'disk')
  const before = first.view.tasks.get(containerId(1))
  await first.close()
  const second = await openLedger(parts, small(directory))
  t.teardown(() => second.close())
  t.same(second.view.head, { format: ledgerLevel, agentId: 'a', clusterId: 'c', epoch: 7, version: '0.0.0-unbuilt' })
  t.same([...second.view.tasks.keys()], [containerId(1)])
  t.same(second.view.tasks.get(containerId(1)), before)
  t.same([...(second.view.tasks.get(containerId(1))?.objects.keys() ?? [])], ['bundle:y'])
  t.equal(second.view.nextStatusNumber, 2)
  t.same(second.quarantined, [])
})

t.test('when nothing happens nothing is written', async (t) => {
  const directory = t.testdir()
  await (await openLedger(parts, small(directory))).close()
  const { files, calls } = faultyFiles({})
  const ledger = await openLedger({ ...parts, files }, small(directory))
  await ledger.close()
  t.same(calls, { writes: 0, syncs: 0 })
})

t.test('the name of a file is durable before anything is told from it', async (t) => {
  const directory = t.testdir()
  await (await openLedger(parts, small(directory))).close()
  const steps: string[] = []
  const files = {
    ...diskFiles,
    syncDirectory: async (path: string) => {
      await diskFiles.syncDirectory(path)
      steps.push('synced')
    },
    open: (path: string) => {
      steps.push(path.includes('/ledger-') ? 'opened' : 'other')
      return diskFiles.open(path)
    }
  }
  const ledger = await openLedger({ ...parts, files }, small(directory))
  t.teardown(() => ledger.close())
  t.same(steps, ['synced', 'opened'])
})

t.test('an agent on a full disk starts although the name of its ledger cannot be synced', async (t) => {
  const directory = t.testdir()
  await (await openLedger(parts, small(directory))).close()
  const refused = (code: string) => ({
    ...diskFiles,
    syncDirectory: () => Promise.reject(Object.assign(new Error(`${code}: injected`), { code }))
  })
  await t.rejects(openLedger({ ...parts, files: refused('EIO') }, small(directory)), { message: /EIO/ })
  const ledger = await openLedger({ ...parts, files: refused('ENOSPC') }, small(directory))
  t.teardown(() => ledger.close())
  await ledger.append(taskRow(1), 'disk')
  t.equal(ledger.view.tasks.size, 1)
})

t.test('many records share a write and a sync', async (t) => {
  const { files, calls } = faultyFiles({})
  const ledger = await openLedger({ ...parts, files }, small(t.testdir()))
  t.teardown(() => ledger.close())
  calls.writes = 0
  calls.syncs = 0
  await Promise.all(Array.from({ length: 32 }, (_, n) => ledger.append(taskRow(n), 'disk')))
  t.same(calls, { writes: 1, syncs: 1 })
  t.equal(ledger.view.tasks.size, 32)
})

t.test('a record for the kernel alone waits for no sync', async (t) => {
  const { files, calls } = faultyFiles({})
  const ledger = await openLedger({ ...parts, files }, small(t.testdir()))
  t.teardown(() => ledger.close())
  calls.syncs = 0
  await ledger.append(objectRow(1, 'intent'), 'kernel')
  t.equal(calls.syncs, 0)
})

t.test('short writes are finished', async (t) => {
  const directory = t.testdir()
  const { files } = faultyFiles({ shortWrites: 5 })
  const ledger = await openLedger({ ...parts, files }, small(directory))
  await ledger.append(taskRow(1), 'disk')
  await ledger.close()
  const again = await openLedger(parts, small(directory))
  t.teardown(() => again.close())
  t.equal(again.view.tasks.size, 1)
})

t.test('a snapshot takes the place of the file and loses nothing', async (t) => {
  const directory = t.testdir()
  const ledger = await openLedger(parts, { ...small(directory), snapshotAfterBytes: 2_000 })
  for (let n = 1; n <= 60; n += 1) {
    await ledger.append(taskRow(n), 'disk')
    await ledger.append(statusRow(n, n, 'finished'), 'disk')
    await ledger.append({ acknowledged: { number: n } }, 'disk')
    if (n > 3) await ledger.append({ forget: { containerId: containerId(n - 3) } }, 'disk')
  }
  const tasks = [...ledger.view.tasks.values()]
  await ledger.close()
  const [name = '', ...others] = await logsIn(directory)
  t.same(others, [])
  t.ok(Number(/\d+/.exec(name)?.[0]) > 3, `${name} is a later file`)
  t.ok((await stat(join(directory, name))).size < 6_000)
  const again = await openLedger(parts, small(directory))
  t.teardown(() => again.close())
  t.same([...again.view.tasks.values()], tasks)
  t.equal(again.view.nextStatusNumber, 61)
})

t.test('a number of a status is never used again, even where all were forgotten', async (t) => {
  const directory = t.testdir()
  const ledger = await openLedger(parts, { ...small(directory), snapshotAfterBytes: 1 })
  await ledger.append(taskRow(1), 'disk')
  await ledger.append(statusRow(1, 41, 'finished'), 'disk')
  await ledger.append({ acknowledged: { number: 41 } }, 'disk')
  await ledger.append({ forget: { containerId: containerId(1) } }, 'disk')
  await ledger.close()
  const again = await openLedger(parts, small(directory))
  t.teardown(() => again.close())
  t.equal(again.view.tasks.size, 0)
  t.equal(again.view.nextStatusNumber, 42)
})

t.test('a second agent is refused and told who owns the directory', async (t) => {
  const directory = t.testdir()
  const ledger = await openLedger(parts, small(directory))
  await t.rejects(openLedger(parts, small(directory)), {
    code: 'conflict',
    message: new RegExp(`^another agent \\(pid ${process.pid}\\) owns .*; stop it or choose another --state-dir$`)
  })
  await ledger.close()
  await t.resolves(openLedger(parts, small(directory)).then((again) => again.close()))
})

t.test('empty and missing files are a fresh ledger', async (t) => {
  const directory = t.testdir({ 'ledger-4.log': '', 'ledger-5.log.draft': 'half' })
  const ledger = await openLedger(parts, small(directory))
  t.teardown(() => ledger.close())
  t.same(ledger.quarantined, [])
  t.equal(ledger.view.tasks.size, 0)
  t.same(await logsIn(directory), ['ledger-5.log'])
})

t.test('the file of a newer agent is refused and left alone', async (t) => {
  const directory = t.testdir()
  const { writeSnapshot } = await import('../../../agent/ledger/snapshot.ts')
  const { LedgerState } = await import('../../../agent/ledger/view.ts')
  const { diskFiles } = await import('../../../agent/ledger/files.ts')
  const state = new LedgerState()
  state.head = { ...state.head, format: ledgerLevel + 1 }
  await (await writeSnapshot(diskFiles, directory, state, 1, 0)).file.close()
  await t.rejects(openLedger(parts, small(directory)), { code: 'unsupported' })
  t.same(await logsIn(directory), ['ledger-1.log'])
})

t.test('a record tells one thing', async (t) => {
  const ledger = await openLedger(parts, small(t.testdir()))
  t.teardown(() => ledger.close())
  await t.rejects(ledger.append({}, 'disk'), { code: 'invalid' })
  await t.rejects(ledger.append({ ...taskRow(1), ...statusRow(1, 1) }, 'disk'), { code: 'invalid' })
})

t.test('on a full disk the reserve lets endings be recorded, and new tasks are refused until there is space', async (t) => {
  const directory = t.testdir()
  const faults: Parameters<typeof faultyFiles>[0] = { room: 8_192 }
  const { files } = faultyFiles(faults)
  const ledger = await openLedger({ ...parts, files }, small(directory))
  await ledger.append(taskRow(1), 'disk')
  t.notOk(ledger.low)
  faults.room = 10
  await ledger.append(statusRow(1, 1, 'finished'), 'disk')
  t.ok(ledger.low)
  t.notOk(existsSync(join(directory, 'reserve')))
  await t.rejects(ledger.append(taskRow(2), 'disk'), { code: 'exhausted' })
  await ledger.append({ acknowledged: { number: 1 } }, 'disk')
  faults.room = 100_000
  await ledger.append(taskRow(3), 'disk')
  t.notOk(ledger.low)
  t.equal((await stat(join(directory, 'reserve'))).size, 4096)
  await ledger.close()
  const again = await openLedger(parts, small(directory))
  t.teardown(() => again.close())
  t.same([...again.view.tasks.keys()], [containerId(1), containerId(3)])
  t.equal(again.view.tasks.get(containerId(1))?.latest?.state, 'finished')
})

t.test('where even the reserve is used up a record is refused whole, and later ones fit again', async (t) => {
  const directory = t.testdir()
  const faults: Parameters<typeof faultyFiles>[0] = { room: 8_192 }
  const { files } = faultyFiles(faults)
  const ledger = await openLedger({ ...parts, files }, small(directory))
  await ledger.append(taskRow(1), 'disk')
  faults.room = 0
  const big = { object: { kind: 'bundle', id: 'x'.repeat(5_000), containerId: containerId(1), phase: 'intent' } } as const
  const results = await Promise.allSettled([ledger.append(big, 'kernel'), ledger.append(statusRow(1, 1), 'disk')])
  t.same(
    results.map((r) => (r.status === 'rejected' ? isFault(r.reason, 'exhausted') : r.status)),
    [true, true]
  )
  faults.room = 500
  await ledger.append(statusRow(1, 2), 'disk')
  await ledger.close()
  const again = await openLedger(parts, small(directory))
  t.teardown(() => again.close())
  t.same(again.quarantined, [])
  t.same(
    again.view.tasks.get(containerId(1))?.unacknowledged.map((s) => s.number),
    [2]
  )
})

for (const call of ['write', 'datasync'] as const) {
  t.test(`after a failed ${call} every append is refused and the agent is told once`, async (t) => {
    const told: Fault[] = []
    const faults: Parameters<typeof faultyFiles>[0] = {}
    const { files } = faultyFiles(faults)
    const ledger = await openLedger({ ...parts, files, onFatal: (fault) => told.push(fault) }, small(t.testdir()))
    t.teardown(() => ledger.close())
    faults[call] = 'EIO'
    const appends = [ledger.append(taskRow(1), 'disk'), ledger.append(statusRow(1, 1), 'disk')]
    for (const append of appends) await t.rejects(append, { code: 'corrupt', message: /EIO/ })
    delete faults[call]
    await t.rejects(ledger.append(taskRow(2), 'disk'), { code: 'corrupt' })
    t.equal(told.length, 1)
  })
}

t.test('a file that cannot be read is set aside and the agent starts', async (t) => {
  const directory = t.testdir()
  const first = await openLedger(parts, small(directory))
  await first.append(taskRow(1), 'disk')
  await first.close()
  const { files } = faultyFiles({ read: 'EIO' })
  const ledger = await openLedger({ ...parts, files }, small(directory))
  t.teardown(() => ledger.close())
  t.match(ledger.quarantined, [{ file: 'quarantine-1.bin', why: /EIO/ }])
  t.equal(ledger.view.tasks.size, 0)
  t.ok((await stat(join(directory, 'quarantine-1.bin'))).size > 0)
})

t.test('a disk that refuses once is asked again, and nothing is set aside', async (t) => {
  const directory = t.testdir()
  const first = await openLedger(parts, small(directory))
  await first.append(taskRow(1), 'disk')
  await first.close()
  let refusals = 0
  const read = async (path: string): Promise<Buffer> => {
    refusals += 1
    if (refusals === 1) throw Object.assign(new Error('refused'), { code: 'EIO' })
    return await diskFiles.read(path)
  }
  const ledger = await openLedger({ ...parts, files: { ...diskFiles, read } }, small(directory))
  t.teardown(() => ledger.close())
  t.same(ledger.quarantined, [])
  t.equal(ledger.view.tasks.size, 1)
})

t.test('a damaged middle is set aside, told, and tasks it may have concerned are doubtful', async (t) => {
  const directory = t.testdir()
  const first = await openLedger(parts, small(directory))
  for (let n = 1; n <= 9; n += 1) await first.append(taskRow(n), 'disk')
  await first.close()
  const path = join(directory, 'ledger-1.log')
  const bytes = await readFile(path)
  const at = bytes.indexOf('t-5')
  await writeFile(path, Buffer.concat([bytes.subarray(0, at), Buffer.alloc(5, 0xff), bytes.subarray(at + 5)]))
  const ledger = await openLedger(parts, small(directory))
  const tasks = [...ledger.view.tasks.values()]
  t.same(
    tasks.map((task) => [task.row.group?.tasks[0]?.taskId, task.doubtful]),
    [1, 2, 3, 4, 6, 7, 8, 9].map((n) => [`t-${n}`, n < 5])
  )
  t.equal(ledger.quarantined.length, 1)
  t.same((await readFile(join(directory, 'quarantine-1.bin'))).length, bytes.length)
  await ledger.append(taskRow(10), 'disk')
  await ledger.close()
  const again = await openLedger(parts, small(directory))
  t.teardown(() => again.close())
  t.same([...again.view.tasks.values()].slice(0, 8), tasks)
  t.equal(again.quarantined.length, 1)
  t.same(again.quarantined, [completeMessage('QuarantineRow', again.quarantined[0] ?? {})])
})
