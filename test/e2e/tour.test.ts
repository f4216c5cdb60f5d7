import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { runProgram, startCluster } from '../support/cluster.ts'

const root = join(import.meta.dirname, '../..')

/** The blocks of the README that stand below a `<!-- tour -->` mark. */
const steps = [...readFileSync(join(root, 'README.md'), 'utf8').matchAll(/<!-- tour -->\s*```sh\n([\s\S]*?)```/g)].map(
  ([, block = '']) => block
)

t.test('every command of the README’s tour works', async (t) => {
  t.ok(steps.length >= 4, 'there is a tour')
  const cluster = await startCluster(t)
  for (const step of steps) {
    // The tour begins with a cluster that is up; `npm start` itself is shown by the clean-clone run.
    const commands = step.replaceAll(/^npm start$/gm, 'npx hearth status')
    const ran = await runProgram('bash', ['-euc', commands], {
      env: { HEARTH_STATE_DIR: cluster.stateDir, PATH: `${join(root, 'node_modules/.bin')}:${process.env['PATH']}` }
    })
    t.equal(ran.code, 0, `${step}\n${ran.stdout}${ran.stderr}`)
  }
})
