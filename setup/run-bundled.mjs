// Runs a program of the tree that is written in TypeScript: bundled into one file, in a process of its own.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { root } from './bootstrap.mjs'

// Checkouts may share one .cache.
const checkout = createHash('sha256').update(root).digest('hex').slice(0, 8)

/**
 * Bundles SOURCE, whose `main(argv, root)` gives the exit code, and runs it with the arguments. `beside`: further programs that it
 * finds in its own folder, as {name, source, format}. Ends this process with the program's exit code.
 */
export async function runBundled(name, source, args, beside = []) {
  const { build } = await import('esbuild')
  const folder = join(root, '.cache', name, checkout)
  const options = {
    bundle: true,
    platform: 'node',
    target: 'node20',
    packages: 'external',
    logLevel: 'warning',
    absWorkingDir: root
  }
  const contents = `import { main } from './${source}'
process.exitCode = await main(process.argv.slice(2), ${JSON.stringify(root)})`
  const outfile = join(folder, `${name}.mjs`)
  await build({ ...options, stdin: { contents, resolveDir: root, loader: 'ts' }, format: 'esm', outfile })
  for (const { name: other, source: entry, format } of beside) {
    await build({ ...options, entryPoints: [entry], format, outfile: join(folder, other) })
  }
  const child = spawn(process.execPath, [outfile, ...args], { stdio: 'inherit' })
  // The terminal tells the program itself; this process waits until it has put everything away.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => signal === 'SIGINT' || child.kill(signal))
  child.on('exit', (code) => process.exit(code ?? 70))
}
