import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { plantedBugs } from './bugs.ts'
import { runLeaseSeed } from './leases/world.ts'
import { runSeed } from './run.ts'

const master = join(dirname(fileURLToPath(import.meta.url)), '../../master')

t.test('no promise is broken under some seeds, and a seed that is run again is the same run, event for event', async (t) => {
  let faults = 0
  let operations = 0
  const traces = new Set<number>()
  for (const seed of [3, 5, 8]) {
    const result = await runSeed(seed)
    t.equal(result.violation, undefined, `seed ${seed}`)
    t.ok(result.elections > 0 && result.checks > result.events / 2, `seed ${seed} did something`)
    faults += Object.values(result.faults).reduce((sum, count) => sum + count, 0)
    operations += result.operations
    traces.add(result.trace)
    if (seed === 5) t.strictSame(await runSeed(seed), result)
  }
  t.ok(faults > 20 && operations > 200, `${faults} faults, ${operations} operations`)
  t.equal(traces.size, 3, 'another seed is another run')
})

t.test('no two attempts of a task with a lease run at once, and one does when all is well; a seed is one run', async (t) => {
  const results = []
  for (const seed of [5, 12]) results.push(await runLeaseSeed(seed))
  for (const { violation, began, terms, agentFaults, seed } of results) {
    t.equal(violation, undefined, `seed ${seed}`)
    t.ok(began > 1 && terms > 1 && agentFaults > 1, `seed ${seed} did something`)
  }
  t.strictSame(await runLeaseSeed(5), results[0])
})

t.test('every planted bug stands in the sources at exactly one place', async (t) => {
  for (const { name, file, find, replace } of plantedBugs) {
    t.equal(readFileSync(join(master, file), 'utf8').split(find).length, 2, name)
    t.not(find, replace, name)
  }
})
