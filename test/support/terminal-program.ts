import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = join(dirname(fileURLToPath(import.meta.url)), '../..')

/** Bundles terminal-main.ts into `dir`; native add-ons come from node_modules, which lies above the folder. Answers its command line. */
export async function buildTerminal(dir: string): Promise<readonly string[]> {
  const outfile = join(dir, 'terminal.cjs')
  await build({
    stdin: {
      contents: `import { main } from './agent/host/terminal-main.ts'\nmain(process.argv.slice(2))`,
      resolveDir: root,
      loader: 'ts'
    },
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    external: ['koffi'],
    banner: { js: 'const importMetaUrl = require("node:url").pathToFileURL(__filename).href;' },
    define: { 'import.meta.url': 'importMetaUrl' },
    outfile,
    logLevel: 'error'
  })
  return [process.execPath, outfile]
}
