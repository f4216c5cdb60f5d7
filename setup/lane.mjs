// A lane is one command of the project with a budget of minutes; over it by half, the lane fails.
import { spawnSync } from 'node:child_process'
import { giveUp, root } from './bootstrap.mjs'

/** What the commit draws, so that each looks elsewhere and a second run of it at the same. */
export function commitSeed() {
  const head = spawnSync('git', ['rev-parse', 'HEAD'], { cwd: root, encoding: 'utf8' })
  if (head.status !== 0) giveUp('this lane draws its runs by the commit: run it in a git checkout')
  return String(Number.parseInt(head.stdout.slice(0, 8), 16))
}

/** Prints the lane's minutes; returns whether they are within the budget and a half. */
export function closeLane(name, startedMs, budgetMinutes) {
  const minutes = (performance.now() - startedMs) / 60_000
  const over = minutes > budgetMinutes * 1.5
  console.log(`lane ${name}: ${minutes.toFixed(1)} min of ${budgetMinutes}${over ? ', over the budget by more than half' : ''}`)
  return !over
}
