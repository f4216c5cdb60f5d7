// npm run sim: runs the Raft core where nothing is real but the core: scenario files and simulations. It needs no build.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { bootstrap, root } from './bootstrap.mjs'

bootstrap()
const { build: bundle } = await import('esbuild')
// Checkouts may share one .cache.
const outfile = join(root, `.cache/sim/${createHash('sha256').update(root).digest('hex').slice(0, 8)}.mjs`)
await bundle({
  stdin: {
    contents: `import { main } from './test/sim/main.ts'
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
child.on('exit', (code) => process.exit(code ?? 70))
