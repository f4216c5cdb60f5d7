import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { systemClock } from '../../base/clock.ts'
import { silentLog } from '../../base/log.ts'
import { openReplica } from '../../master/consensus/open-replica.ts'
import { ensureIdentity } from '../../master/identity.ts'
import type { RecordLine } from '../../master/store/records.ts'
import { walCommand } from '../../master/wal-command.ts'
import { decide, framework, put } from '../contract/replica.ts'

t.test('the log is verified and every record of it is told, and a flipped byte is found by file and offset', async (t) => {
  const stateDir = await mkdtemp(join(tmpdir(), 'hearth-wal-'))
  t.teardown(() => rm(stateDir, { recursive: true, force: true }))
  const run = async (...argv: string[]): Promise<string> => {
    let said = ''
    await walCommand([...argv, '--state-dir', stateDir], (text) => {
      said += text
    })
    return said
  }
  await t.rejects(run('verify'), { code: 'not-found' })
  await t.rejects(run('mend'), { code: 'invalid' })
  const identity = await ensureIdentity(stateDir)
  const config = { directory: join(stateDir, 'master'), ...identity, segmentBytes: 2048 }
  const replica = await openReplica({ log: silentLog, clock: systemClock }, config)
  await decide(replica, 'a', 1, framework('f'))
  for (let i = 1; i <= 40; i += 1) await decide(replica, 'b', i, put('f', `k${i}`, i))
  await replica.snapshot()
  const last = replica.state.index
  t.match(await run('verify'), `entries 1 to ${last}`, 'also while the master runs')
  await replica.close()
  t.match(JSON.parse(await run('verify', '--json')), { lastIndex: last, lastTerm: 1, snapshots: [last], tornBytes: 0 })
  const lines = (await run('inspect', '--json')).trim().split('\n')
  const records = lines.map((line) => JSON.parse(line) as RecordLine)
  t.same(
    records.filter((record) => record.kind === 'entry').map((record) => record.index),
    Array.from({ length: last }, (_, i) => i + 1)
  )
  t.ok(records.filter((record) => record.kind === 'head').length > 1, 'more than one segment')
  t.equal((await run('inspect')).trim().split('\n').length, records.length)
  const path = join(stateDir, 'master/wal/0000000000000001.wal')
  const bytes = await readFile(path)
  const entry = records.find((record) => record.kind === 'entry' && record.index === 3)
  const at = (entry?.offset ?? 0) + 15
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at)
  await writeFile(path, bytes)
  await t.rejects(run('verify'), { code: 'corrupt', detail: { path, offset: entry?.offset ?? 0 } })
  t.match(await run('inspect'), /broken .*the checksum does not fit the chain/)
})
