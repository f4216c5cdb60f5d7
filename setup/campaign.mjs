// npm run campaign: builds the programs and the campaigns, and runs the one that is asked for against what dist/ holds.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { bootstrap, describeMissing, giveUp, installTools, root } from './bootstrap.mjs'

bootstrap()
const missing = installTools('run')
if (missing.length > 0) giveUp(describeMissing(missing))
const { build } = await import('./build.mjs')
await build()
const { build: bundle } = await import('esbuild')
// Checkouts may share one .cache.
const outfile = join(root, `.cache/campaign/${createHash('sha256').update(root).digest('hex').slice(0, 8)}.mjs`)
await bundle({
  stdin: {
    contents: `import { main } from './test/campaign/main.ts'
process.exitCode = await main(process.argv.slice(2), ${JSON.stringify(root)})`,
    resolveDir: root,
    loader: 'ts'
  },
  bundle: true,
  platform: 'node',
  target: 'node20',
  packages: 'external',
  logLevel: 'warning',
  absWorkingDir: root,
  format: 'esm',
  outfile
})
const child = spawn(process.execPath, [outfile, ...process.argv.slice(2)], { stdio: 'inherit' })
// The terminal tells the campaign itself; this process waits until it has put everything away.
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(name, () => name === 'SIGINT' || child.kill(name))
child.on('exit', (code) => process.exit(code ?? 70))
