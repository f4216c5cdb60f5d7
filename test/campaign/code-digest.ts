import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'

/** What the agent under test consists of; the masters of the campaigns are scripted. */
const programs = ['agent.cjs', 'start-agent.cjs', 'unpack.cjs', 'terminal.cjs']
/** What every campaign acts and judges with. */
const shared = ['invariants', 'master.ts', 'world.ts']

/**
 * Of what a run's result depends on: the programs that are tested, the files of `sources` and of `shared`, which lie in
 * test/campaign. Whatever else changes, documents, other rooms and other campaigns, leaves finished runs as they are.
 */
export function codeDigest(root: string, sources: readonly string[], tested: readonly string[] = programs): string {
  const hash = createHash('sha256')
  const rules = [...shared, ...sources].flatMap((path) => filesOf(join(root, 'test/campaign', path)))
  for (const path of [...tested.map((name) => join(root, 'dist', name)), ...rules]) {
    if (existsSync(path)) hash.update(readFileSync(path))
  }
  return hash.digest('hex').slice(0, 16)
}

const filesOf = (path: string): readonly string[] =>
  statSync(path).isFile()
    ? [path]
    : readdirSync(path)
        .sort()
        .flatMap((name) => filesOf(join(path, name)))
