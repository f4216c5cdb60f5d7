// npm run bench: builds the programs and the bench, and runs it with the arguments given. It measures what dist/ holds.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { bootstrap, describeMissing, giveUp, installTools, root } from './bootstrap.mjs'

bootstrap()
const missing = installTools('run')
if (missing.length > 0) giveUp(describeMissing(missing))
const args = process.argv.slice(2)
const partial = args.includes('--partial')
const { build } = await import('./build.mjs')
await build({ partial })
const { build: bundle } = await import('esbuild')
// Checkouts may share one .cache.
const folder = join(root, '.cache/bench', createHash('sha256').update(root).digest('hex').slice(0, 8))
const options = {
  bundle: true,
  platform: 'node',
  target: 'node20',
  packages: 'external',
  logLevel: 'warning',
  absWorkingDir: root
}
await bundle({
  ...options,
  stdin: {
    contents: `import { main } from './test/bench/main.ts'
process.exitCode = await main(process.argv.slice(2), ${JSON.stringify(root)})`,
    resolveDir: root,
    loader: 'ts'
  },
  format: 'esm',
  outfile: join(folder, 'bench.mjs')
})
await bundle({ ...options, entryPoints: ['test/bench/appender.ts'], format: 'esm', outfile: join(folder, 'appender.mjs') })
await bundle({ ...options, entryPoints: ['test/bench/trace-hook.ts'], format: 'cjs', outfile: join(folder, 'trace-hook.cjs') })
const child = spawn(process.execPath, [join(folder, 'bench.mjs'), ...args.filter((a) => a !== '--partial')], { stdio: 'inherit' })
// The terminal tells the bench itself; this process waits until the bench has put everything away.
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(name, () => name === 'SIGINT' || child.kill(name))
child.on('exit', (code) => process.exit(code ?? 70))
