// npm start: everything from a fresh clone to a running single-host cluster. Arguments after `--` go to `hearth up`.
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { bootstrap, describeMissing, giveUp, installTools, root } from './bootstrap.mjs'

bootstrap()
const missing = installTools('start')
if (missing.some((t) => t.need === 'run')) giveUp(describeMissing(missing))
const { build } = await import('./build.mjs')
await build()
const up = spawnSync(process.execPath, ['--', join(root, 'dist/hearth.cjs'), 'up', ...process.argv.slice(2)], {
  stdio: 'inherit'
})
process.exit(up.status ?? 70)
