import { spawnSync } from 'node:child_process'
import { dirname, join } from 'node:path'
import { Fault } from '../../base/fault.ts'
import type { CommonOptions, Context } from '../context.ts'

/** The master's own program reads its files, whether one runs or not; its exit code is ours. */
export function runMaster(context: Context, words: readonly string[], options: CommonOptions): number {
  const { stateDir } = context.settings(options)
  const program = join(dirname(process.argv[1] ?? ''), 'master.cjs')
  const json = options.json === true ? ['--json'] : []
  const run = spawnSync(process.execPath, [program, ...words, '--state-dir', stateDir, ...json], { stdio: 'inherit' })
  if (run.error !== undefined) throw new Fault('unavailable', `${program} could not be run`, {}, run.error)
  return run.status ?? 1
}
