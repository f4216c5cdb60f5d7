import { execFileSync } from 'node:child_process'
import { mkdtemp, open, readdir, rm, rmdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { openLedger } from '../../agent/ledger/ledger.ts'
import { silentLog } from '../../base/log.ts'
import { containerId, objectRow, statusRow, taskRow } from '../agent/ledger/support.ts'

const missing = process.getuid?.() === 0 ? false : 'needs root to mount a small file system'

async function smallDisk(t: Test): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'hearth-full-'))
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=512k', 'tmpfs', directory])
  t.teardown(async () => {
    execFileSync('umount', [directory])
    await rmdir(directory)
  })
  return directory
}

async function fill(path: string): Promise<void> {
  const file = await open(path, 'w')
  try {
    for (;;) await file.write(Buffer.alloc(4096, 1))
  } catch {
    // full, as intended
  } finally {
    await file.close()
  }
}

t.test(
  'on a really full disk the end of a task is recorded, and new tasks come back with the space',
  { skip: missing },
  async (t) => {
    const disk = await smallDisk(t)
    const directory = join(disk, 'ledger')
    const config = { directory, reserveBytes: 128 * 1024, snapshotAfterBytes: 16 * 1024 }
    const ledger = await openLedger({ log: silentLog }, config)
    await ledger.append(taskRow(1), 'disk')
    await fill(join(disk, 'filler'))
    for (let n = 1; n <= 100; n += 1) {
      await ledger.append(objectRow(1, 'done', `o-${n}`), 'kernel')
      await ledger.append(statusRow(1, n, 'running'), 'disk')
    }
    await ledger.append(statusRow(1, 101, 'finished'), 'disk')
    t.ok(ledger.low)
    await t.rejects(ledger.append(taskRow(2), 'disk'), { code: 'exhausted' })
    await rm(join(disk, 'filler'))
    await ledger.append(taskRow(3), 'disk')
    t.notOk(ledger.low)
    await ledger.close()
    const again = await openLedger({ log: silentLog }, config)
    t.same([...again.view.tasks.keys()], [containerId(1), containerId(3)])
    t.equal(again.view.tasks.get(containerId(1))?.latest?.state, 'finished')
    t.same(again.quarantined, [])
    await again.close()
  }
)

t.test('an agent that starts on a full disk starts, and one without any ledger says why not', { skip: missing }, async (t) => {
  const disk = await smallDisk(t)
  const config = { directory: join(disk, 'ledger'), reserveBytes: 64 * 1024 }
  const first = await openLedger({ log: silentLog }, config)
  await first.append(taskRow(1), 'disk')
  await first.close()
  await rm(join(config.directory, 'reserve'))
  await fill(join(disk, 'filler'))
  const ledger = await openLedger({ log: silentLog }, config)
  t.ok(ledger.low)
  t.equal(ledger.view.tasks.size, 1)
  await ledger.close()
  t.same(
    (await readdir(config.directory)).filter((name) => name.endsWith('.draft')),
    []
  )
  await t.rejects(openLedger({ log: silentLog }, { ...config, directory: join(disk, 'ledger-2') }), {
    code: 'exhausted',
    message: /^the disk is full/
  })
})
