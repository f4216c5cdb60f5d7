import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  writeFileSync
} from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { bootDirectoryName, placeBootDirectory, removeBootDirectory } from '../../../agent/host/boot-directory.ts'

/** A run directory on the disk, and a tmpfs that stands in for /run. */
function host(t: Test): { readonly runDir: string; readonly tmpfs: string } {
  const tmpfs = mkdtempSync('/dev/shm/hearth-test-')
  t.teardown(() => rmSync(tmpfs, { recursive: true }))
  return { runDir: join(t.testdir(), 'run'), tmpfs }
}

t.test('the boot-bound files lie on a tmpfs, and the run directory leads to them', async (t) => {
  const { runDir, tmpfs } = host(t)
  const place = placeBootDirectory(runDir, ['/no/such/place', '/etc', tmpfs])
  t.equal(place, join(tmpfs, bootDirectoryName(runDir)))
  for (const part of ['c', 'exits', 'oci']) t.equal(readlinkSync(join(runDir, part)), join(place, part))
  t.equal(lstatSync(join(place, 'exits')).mode & 0o777, 0o700, 'exit codes are for root')
  t.equal(placeBootDirectory(runDir, [tmpfs]), place, 'an agent that starts again finds them there')
})

t.test('after a reboot the links lead to new, empty directories', async (t) => {
  const { runDir, tmpfs } = host(t)
  const place = placeBootDirectory(runDir, [tmpfs])
  writeFileSync(join(runDir, 'exits/x'), '0')
  rmSync(place, { recursive: true })
  t.equal(placeBootDirectory(runDir, [tmpfs]), place)
  t.same(readdirSync(join(runDir, 'exits')), [])
})

t.test('where containers have their files on the disk already they stay there', async (t) => {
  const { runDir, tmpfs } = host(t)
  mkdirSync(join(runDir, 'c/container'), { recursive: true })
  t.equal(placeBootDirectory(runDir, [tmpfs]), runDir)
  t.same(readdirSync(tmpfs), [])
})

t.test('a directory that others may write into is not used', async (t) => {
  const { runDir, tmpfs } = host(t)
  const place = join(tmpfs, bootDirectoryName(runDir))
  mkdirSync(place)
  chmodSync(place, 0o777)
  t.equal(placeBootDirectory(runDir, [tmpfs]), runDir)
  t.same(readdirSync(place), [])
})

t.test('they go with the last container', async (t) => {
  const { runDir, tmpfs } = host(t)
  const place = placeBootDirectory(runDir, [tmpfs])
  mkdirSync(join(place, 'c/container'))
  mkdirSync(join(place, 'oci/runc'))
  removeBootDirectory(runDir, place)
  t.ok(existsSync(join(runDir, 'c/container')), 'one that is left keeps its files')
  t.ok(existsSync(join(place, 'exits')), 'and its monitor finds where to write the exit code')
  rmSync(join(place, 'c/container'), { recursive: true })
  removeBootDirectory(runDir, place)
  t.same(readdirSync(tmpfs), [])
  t.same(readdirSync(runDir), [])
})
