import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

/** As the build makes `hearth.cjs` of it; a program of that kind writes its code away when it ends. */
const script = readFileSync(join(process.cwd(), 'setup/cached-start.cjs'), 'utf8').replace(
  "const name = 'agent'",
  "const name = 'cli'"
)

t.test('a program that comes out of the cache can still load modules that are named to it', async (t) => {
  const folder = t.testdir({
    'cli.cjs': 'globalThis.hearthImport(process.argv[2]).then((m) => console.log(m.word), (e) => console.log(e.message))',
    'named.mjs': "export const word = 'loaded'"
  })
  writeFileSync(join(folder, 'start.cjs'), script)
  const run = (): string =>
    execFileSync(process.execPath, [join(folder, 'start.cjs'), join(folder, 'named.mjs')], {
      encoding: 'utf8',
      env: { PATH: process.env['PATH'] },
      stdio: ['ignore', 'pipe', 'ignore']
    }).trim()
  t.equal(run(), 'loaded')
  t.ok(
    readdirSync(folder).some((name) => name.endsWith('.cache')),
    'its code is kept'
  )
  t.equal(run(), 'loaded', 'and the next start, out of the cache, can too')
})
