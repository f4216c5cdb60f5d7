// npm run test:vm: the Debian package, and what it installs, in a virtual machine of its own with systemd and cgroup v2 alone.
// Arguments name test files to run instead of all; `--long` has 50 tasks outlive everything instead of 12.
// HEARTH_TIME_FACTOR says how much slower than this machine the virtual one is.
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { bootstrap, describeMissing, giveUp, installTools, root } from './bootstrap.mjs'
import { build } from './build.mjs'
import { closeLane } from './lane.mjs'
import { buildPackage } from './package.mjs'
import { runTap, testFiles } from './test.mjs'
import { ensureImage, writeDisk } from './vm-image.mjs'

const budgetMinutes = 13
const payloadBytes = 256 * 1024 ** 2

const started = performance.now()
bootstrap()
if (process.getuid?.() !== 0) giveUp('npm run test:vm builds a Debian disk and needs root; try: sudo npm run test:vm')
const missing = installTools('vm')
if (missing.length > 0) giveUp(describeMissing(missing))
await build()
const folder = join(root, '.cache/vm')
const payload = join(folder, `payload-${process.pid}`)
rmSync(payload, { recursive: true, force: true })
mkdirSync(payload, { recursive: true })
const disk = `${payload}.img`
try {
  await buildPackage({ out: payload })
  await buildPackage({ out: payload, version: '9.0.0' })
  const image = ensureImage()
  writeDisk(payload, disk, payloadBytes)
  const named = process.argv.slice(2).filter((argument) => argument !== '--long')
  const files = testFiles(named.length > 0 ? named : ['test/vm'])
  const isLong = process.argv.includes('--long')
  const env = { HEARTH_VM: JSON.stringify({ ...image, payload: disk }), ...(isLong ? { HEARTH_VM_TASKS: '50' } : {}) }
  const { line, ok } = await runTap(files, { jobs: 1, env, steps: true, timeoutSeconds: 3 * budgetMinutes * 60 })
  // 50 tasks are on demand: no lane of CI.
  const inTime = isLong || closeLane('test:vm', started, budgetMinutes)
  console.log(line)
  process.exitCode = ok && inTime ? 0 : 1
} finally {
  for (const path of [payload, disk]) rmSync(path, { recursive: true, force: true })
}
