import { mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { diskOf } from '../../isolators/cgroup2/disks.ts'

const home = mkdtempSync(join(tmpdir(), 'hearth-disks-'))
t.teardown(() => rmSync(home, { recursive: true, force: true }))

/** A sysfs in which the file system of our own folder lies on a partition of the disk 259:0. */
function sysWith(isPartition: boolean): string {
  const sys = mkdtempSync(join(home, 'sys-'))
  const disk = join(sys, 'devices/disk')
  const device = isPartition ? join(disk, 'part1') : disk
  mkdirSync(device, { recursive: true })
  mkdirSync(join(sys, 'dev/block'), { recursive: true })
  writeFileSync(join(disk, 'dev'), '259:0\n')
  if (isPartition) writeFileSync(join(device, 'partition'), '1\n')
  const { dev } = statSync(home)
  symlinkSync(device, join(sys, 'dev/block', `${Math.floor(dev / 256) & 0xfff}:${dev & 0xff}`))
  return sys
}

t.test('a path names the whole disk that it lies on', async (t) => {
  t.same(diskOf(home, sysWith(false)), { number: '259:0' })
  t.same(diskOf(home, sysWith(true)), { number: '259:0' })
})

t.test('what lies on no disk is refused with what to do', async (t) => {
  t.throws(() => diskOf('/proc'), { code: 'invalid', message: /lies on no disk of its own.*name the disk itself/ })
  t.throws(() => diskOf('/no/such/file'), { code: 'invalid', message: /no such file on this node/ })
})
