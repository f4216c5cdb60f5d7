// The lane `sim`: as many simulated clusters as fit into its minutes, from a seed that the commit draws.
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { root } from './bootstrap.mjs'
import { closeLane, commitSeed } from './lane.mjs'

const budgetMinutes = 3
/** The rest is for building and for the last one to end. */
const simMinutes = 2
const started = performance.now()
const args = [join(root, 'setup/sim.mjs'), '--minutes', String(simMinutes), '--seed', commitSeed()]
const sim = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' })
const inTime = closeLane('sim', started, budgetMinutes)
process.exitCode = sim.status === 0 ? Number(!inTime) : (sim.status ?? 70)
