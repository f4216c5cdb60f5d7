// The lane `crash sweep`: as much of the grid as fits into its minutes, drawn by the commit, so that each commit looks elsewhere and
// a second run of it looks at the same.
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { giveUp, root } from './bootstrap.mjs'
import { closeLane } from './lane.mjs'

const budgetMinutes = 6
/** The rest is for building, for the runs without a fault and for the last ones to end. */
const sweepMinutes = 4
const started = performance.now()
if (process.getuid?.() !== 0) {
  console.log('not run: needs root: crash sweep')
} else {
  const head = spawnSync('git', ['rev-parse', 'HEAD'], { cwd: root, encoding: 'utf8' })
  if (head.status !== 0) giveUp('the crash sweep draws its runs by the commit: run it in a git checkout')
  const seed = String(Number.parseInt(head.stdout.slice(0, 8), 16))
  const args = [join(root, 'setup/campaign.mjs'), 'crash-sweep', '--minutes', String(sweepMinutes), '--seed', seed]
  const sweep = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' })
  const inTime = closeLane('crash sweep', started, budgetMinutes)
  process.exitCode = sweep.status === 0 ? Number(!inTime) : (sweep.status ?? 70)
}
