import { readFileSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { diskFiles } from '../../../agent/ledger/files.ts'
import { openLedger } from '../../../agent/ledger/ledger.ts'
import { ledgerLevel, raised } from '../../../agent/ledger/level.ts'
import { scanLedger } from '../../../agent/ledger/salvage.ts'
import { type Position, writeSnapshot } from '../../../agent/ledger/snapshot.ts'
import { LedgerState } from '../../../agent/ledger/view.ts'
import { silentLog } from '../../../base/log.ts'
import { encodeRecord } from '../../../base/record-chain.ts'
import { decodeKeeping, encodeMessage } from '../../../proto/codec.ts'
import { containerId, taskRow } from './support.ts'

const parts = { log: silentLog }
const configOf = (directory: string) => ({ directory, reserveBytes: 4096 })

/** Field 99 with a text, as a version of the future may write it (protobuf encoding: tag 99 << 3 | 2). */
const unknown = (text: string): Uint8Array => Buffer.from([0x9a, 0x06, text.length, ...Buffer.from(text)])

/** A ledger as a newer version leaves it: the bodies stand behind what the state gives. */
async function planted(directory: string, level: number, bodies: readonly Uint8Array[]): Promise<void> {
  const state = new LedgerState()
  state.head = { ...state.head, agentId: 'a', format: level, version: '9.9.9' }
  let at: Position = await writeSnapshot(diskFiles, directory, state, 1, 0)
  for (const body of bodies) {
    const sequence = encodeMessage('LedgerRecord', { sequence: at.sequence + 1 })
    const record = encodeRecord(Buffer.concat([body, sequence]), at.crc)
    await at.file.write(record.bytes, at.offset)
    at = { ...at, crc: record.crc, sequence: at.sequence + 1, offset: at.offset + record.bytes.length }
  }
  await at.file.close()
}

const contentOf = async (directory: string): Promise<Readonly<Record<string, string>>> =>
  Object.fromEntries(
    (await readdir(directory))
      .filter((name) => name !== 'owner')
      .map((name) => [name, readFileSync(join(directory, name)).toString('hex')])
  )

t.test('a ledger of a higher level is refused with both versions, and nothing is touched', async (t) => {
  const directory = t.testdir({ 'ledger-9.log.draft': 'half' })
  await planted(directory, ledgerLevel + 1, [])
  const before = await contentOf(directory)
  await t.rejects(openLedger(parts, configOf(directory)), {
    code: 'unsupported',
    message: /level 5, raised by Hearth 9\.9\.9; this is Hearth 0\.0\.0-unbuilt, which knows level 4: start 9\.9\.9 or newer/
  })
  t.same(await contentOf(directory), before)
})

t.test('the level stays until it is raised by a record, and then names who raised it', async (t) => {
  const directory = t.testdir()
  const first = await openLedger(parts, { ...configOf(directory), freshLevel: 1 })
  await first.append({ head: { ...first.view.head, agentId: 'a' } }, 'disk')
  t.match(first.view.head, { format: 1, version: '', agentId: 'a' })
  await t.rejects(first.append({ head: { ...first.view.head, format: ledgerLevel + 1 } }, 'disk'), { code: 'invalid' })
  await first.close()
  const second = await openLedger(parts, configOf(directory))
  t.match(second.view.head, { format: 1, version: '' })
  await second.append({ head: raised(second.view.head) ?? null }, 'disk')
  t.match(second.view.head, { format: ledgerLevel, version: '0.0.0-unbuilt', agentId: 'a' })
  t.equal(raised(second.view.head), undefined)
  await t.rejects(second.append({ head: { ...second.view.head, format: 1 } }, 'disk'), { code: 'invalid' })
  await second.close()
})

t.test('below level 3 the next attempt of a task has a row like any other, above it one without a body', async (t) => {
  const directory = t.testdir()
  const next = (n: number) => ({
    restart: {
      containerId: containerId(n + 1),
      previousContainerId: containerId(n),
      attempt: n + 1,
      assignedContainerId: containerId(1)
    }
  })
  const first = await openLedger(parts, { ...configOf(directory), freshLevel: 2 })
  await first.append(taskRow(1), 'disk')
  await first.append(next(1), 'disk')
  await first.append({ head: raised(first.view.head) ?? null }, 'disk')
  await first.append(next(2), 'disk')
  const { tasks } = first.view
  await first.close()
  const scan = scanLedger(readFileSync(join(directory, 'ledger-1.log')), 1)
  const told = scan.items.map((item) => {
    const { sequence, ...members } = item.kind === 'record' ? item.record : { sequence: 0 }
    return Object.entries(members).find(([, value]) => value !== null)?.[0]
  })
  t.same(told.slice(-4), ['task', 'task', 'head', 'restart'])
  const again = await openLedger(parts, configOf(directory))
  t.teardown(() => again.close())
  t.same(again.view.tasks, tasks)
  t.match(
    [...again.view.tasks.values()].map(({ row }) => [row.attempt, row.group?.tasks[0]?.taskId]),
    [1, 2, 3].map((attempt) => [attempt, 't-1']),
    'all run the same'
  )
})

t.test('fields and records that only a newer version knows survive a compaction', async (t) => {
  const directory = t.testdir()
  const known = encodeMessage('LedgerRecord', taskRow(1))
  const nested = encodeMessage('LedgerRecord', { ...taskRow(2) })
  const withField = (body: Uint8Array, field: Uint8Array): Uint8Array => {
    // A record's member is its only field here: tag, length (one byte below 128, else two), content.
    const row = encodeMessage('TaskRow', decodeKeeping('LedgerRecord', body).task ?? {})
    const content = Buffer.concat([row, field])
    const size = content.length
    return Buffer.concat([Buffer.from([0x1a, ...(size < 128 ? [size] : [(size & 127) | 128, size >> 7])]), content])
  }
  await planted(directory, ledgerLevel, [known, withField(nested, unknown('within a row')), unknown('a whole record')])
  const first = await openLedger(parts, { ...configOf(directory), snapshotAfterBytes: 1 })
  t.same(first.quarantined, [])
  for (const n of [3, 4, 5]) await first.append(taskRow(n), 'disk')
  await first.close()
  const logs = (await readdir(directory)).filter((name) => name.endsWith('.log'))
  t.not(logs[0], 'ledger-1.log', 'it was compacted')
  const bytes = readFileSync(join(directory, logs[0] ?? '')).toString('latin1')
  t.match(bytes, /within a row/)
  t.match(bytes, /a whole record/)
  const again = await openLedger(parts, configOf(directory))
  t.teardown(() => again.close())
  t.same([...again.view.tasks.keys()], [1, 2, 3, 4, 5].map(containerId))
})

t.test('what a version that was taken back wrote above the level is quarantined, and every task stays', async (t) => {
  const directory = t.testdir()
  const raise = encodeMessage('LedgerRecord', {
    head: { format: ledgerLevel + 1, agentId: 'a', clusterId: 'c', epoch: 4, version: '9.9.9' }
  })
  await planted(directory, ledgerLevel, [
    encodeMessage('LedgerRecord', taskRow(1)),
    raise,
    unknown('new'),
    encodeMessage('LedgerRecord', taskRow(2))
  ])
  await t.rejects(openLedger(parts, configOf(directory)), { code: 'unsupported' })
  const ledger = await openLedger(parts, { ...configOf(directory), rejectedVersion: '9.9.9' })
  t.same([...ledger.view.tasks.keys()], [containerId(1), containerId(2)])
  t.match(ledger.view.head, { format: ledgerLevel, agentId: 'a', clusterId: 'c', epoch: 4 })
  t.equal(ledger.quarantined.length, 2)
  t.match(ledger.quarantined[0]?.why, /written by 9\.9\.9, which was taken back/)
  await ledger.close()
  const again = await openLedger(parts, configOf(directory))
  t.teardown(() => again.close())
  t.same([...again.view.tasks.keys()], [containerId(1), containerId(2)], 'the next start needs no word of the rejection')
})
