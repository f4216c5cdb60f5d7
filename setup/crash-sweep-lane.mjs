// The lane `crash sweep`: as much of the grid as fits into its minutes, drawn by the commit.
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { root } from './bootstrap.mjs'
import { closeLane, commitSeed } from './lane.mjs'

const budgetMinutes = 6
/** The rest is for building, for the runs without a fault and for the last ones to end. */
const sweepMinutes = 4
const started = performance.now()
if (process.getuid?.() !== 0) {
  console.log('not run: needs root: crash sweep')
} else {
  const args = [join(root, 'setup/campaign.mjs'), 'crash-sweep', '--minutes', String(sweepMinutes), '--seed', commitSeed()]
  const sweep = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' })
  const inTime = closeLane('crash sweep', started, budgetMinutes)
  process.exitCode = sweep.status === 0 ? Number(!inTime) : (sweep.status ?? 70)
}
