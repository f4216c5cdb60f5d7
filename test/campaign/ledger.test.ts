import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openLedger } from '../../agent/ledger/ledger.ts'
import { silentLog } from '../../base/log.ts'
import { readLedger } from './invariants/ledger.ts'

t.test('a ledger that the agent wrote reads clean, and any damage of it is told', async (t) => {
  const stateDir = t.testdir({ agent: { ledger: {} } })
  const directory = join(stateDir, 'agent/ledger')
  const ledger = await openLedger({ log: silentLog }, { directory, reserveBytes: 4096 })
  for (let number = 1; number <= 50; number += 1) {
    await ledger.append({ status: { taskId: `t-${number}`, containerId: 'c'.repeat(32), number } }, 'kernel')
  }
  await ledger.close()
  const reading = readLedger(stateDir)
  t.strictSame(reading.problems, [])
  t.ok(reading.records > 50, `${reading.records} records`)

  const path = join(directory, 'ledger-1.log')
  const sound = readFileSync(path)
  const damages: readonly (readonly [string, Buffer, RegExp])[] = [
    ['half a last record', sound.subarray(0, sound.length - 3), /runs past the end/],
    ['another byte', Buffer.from(sound).fill(0x7f, 1000, 1001), /checksum/],
    ['a record twice', Buffer.concat([sound, sound.subarray(0, 80)]), /checksum|record starts/],
    ['nothing', Buffer.alloc(0), /empty/]
  ]
  for (const [sentence, bytes, told] of damages) {
    writeFileSync(path, bytes)
    t.match(readLedger(stateDir).problems.join('\n'), told, sentence)
  }
  writeFileSync(path, sound)
  writeFileSync(join(directory, 'quarantine-1.bin'), '')
  t.match(readLedger(stateDir).problems, ['quarantine-1.bin was set aside as damaged'])
})
