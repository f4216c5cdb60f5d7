import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { plantedBugs } from './bugs.ts'
import { runSeed } from './run.ts'

const raft = join(dirname(fileURLToPath(import.meta.url)), '../../master/raft')

t.test('no promise is broken under the first seeds', async (t) => {
  let faults = 0
  for (let seed = 1; seed <= 8; seed++) {
    const result = runSeed(seed)
    t.equal(result.violation, undefined, `seed ${seed}`)
    t.ok(result.elections > 0 && result.operations > 0 && result.checks > result.events / 2, `seed ${seed} did something`)
    faults += Object.values(result.faults).reduce((sum, count) => sum + count, 0)
  }
  t.ok(faults > 30, `${faults} faults`)
})

t.test('the same seed is the same run, event for event, and another is another', async (t) => {
  const first = runSeed(3)
  t.strictSame(runSeed(3), first)
  t.not(runSeed(4).trace, first.trace)
})

t.test('every planted bug stands in the core at exactly one place', async (t) => {
  for (const { name, file, find, replace } of plantedBugs) {
    t.equal(readFileSync(join(raft, file), 'utf8').split(find).length, 2, name)
    t.not(find, replace, name)
  }
})
