import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import { codeDigest } from './code-digest.ts'

t.test('finished runs count for the agent and for what judges it, and for nothing else', async (t) => {
  const root = t.testdir()
  const put = (path: string, text: string): void => {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  const own = [
    'dist/agent.cjs',
    'test/campaign/invariants/a.ts',
    'test/campaign/world.ts',
    'test/campaign/master.ts',
    'test/campaign/one/run.ts'
  ]
  for (const path of own) put(path, 'a')
  const digest = (): string => codeDigest(root, ['one'])
  const first = digest()
  for (const path of ['docs/reliability.md', 'dist/master.cjs', 'test/campaign/two/run.ts', 'test/campaign/main.ts'])
    put(path, 'b')
  t.equal(digest(), first)
  for (const path of own) {
    put(path, 'b')
    t.not(digest(), first, path)
    put(path, 'a')
  }
  t.equal(digest(), first)
})
