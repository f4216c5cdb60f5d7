import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { runFolder } from './run.ts'

const own = join(dirname(fileURLToPath(import.meta.url)), 'own')

t.test('the core behaves as each of our own scenarios says', async (t) => {
  const results = runFolder(own)
  t.ok(results.length >= 25, `${results.length} scenarios`)
  for (const { file, cases, deviation, refused } of results) {
    t.ok(cases > 0, `${file} has cases`)
    t.strictSame({ deviation, refused }, { deviation: undefined, refused: undefined }, file)
  }
})

/** Files that are not ours, and so not here: they run where the operator names their folder, as in `npm run sim -- scenarios`. */
const others = process.env['HEARTH_RAFT_SCENARIOS']

if (others !== undefined)
  t.test('and as the scenarios of etcd-io/raft say', async (t) => {
    const results = runFolder(others)
    t.ok(results.length > 0, `${results.length} scenarios`)
    for (const { file, deviation, refused } of results) {
      t.strictSame({ deviation, refused }, { deviation: undefined, refused: undefined }, file)
    }
  })
