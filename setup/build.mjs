// Bundles every program to one CommonJS file in dist/; native add-ons lie beside them. `--partial` goes on
// without rooms that are not there.
import { chmodSync, existsSync, lstatSync, mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { bootstrap, giveUp, root } from './bootstrap.mjs'

export const programs = [
  { name: 'cli', source: 'cli/main.ts' },
  { name: 'supervise', source: 'cli/supervise-main.ts' },
  { name: 'master', source: 'master/main.ts' },
  { name: 'agent', source: 'agent/main.ts' },
  { name: 'unpack', source: 'agent/images/unpack-main.ts' },
  { name: 'terminal', source: 'agent/host/terminal-main.ts' },
  { name: 'health', source: 'agent/node-health/health-main.ts' },
  { name: 'enrol', source: 'agent/enrolment/enrol-main.ts' },
  { name: 'docker', source: 'agent/host/docker-main.ts' }
]

/** No programs: loaded by one when it needs them. */
export const libraries = [{ name: 'docker-engine', source: 'isolators/runtime/docker/dockerode-engine.ts', isLibrary: true }]

/** What is no bundle: they act before, or without, any version's code. */
export const scripts = [
  { name: 'launch-agent', from: 'agent/upgrade/launch-agent.sh' },
  { name: 'start-agent.cjs', from: 'setup/cached-start.cjs' },
  // Node looks for its own --env-file up to the first `--`, behind the program's name too.
  { name: 'hearth.cjs', from: 'setup/cached-start.cjs', starts: 'cli', interpreter: '/usr/bin/env -S node --' },
  { name: 'lease-watchdog', from: 'agent/lease/watchdog.pl' }
]

/** Loaded by terminal.cjs alone, a short-lived child. koffi looks for `koffi/linux_x64/koffi.node` beside the program. */
export const addons = [{ from: 'node_modules/@koromix/koffi-linux-x64/linux_x64/koffi.node', to: 'koffi/linux_x64/koffi.node' }]

/** The one place that turns a room's `main` into a process. */
const entry = ({ source, isLibrary }) =>
  isLibrary
    ? `export * from './${source}'`
    : `
import { main } from './${source}'
main(process.argv.slice(2), process.env).then(
  (code) => { if (typeof code === 'number') process.exitCode = code },
  (e) => { console.error(e); process.exit(70) }
)`

/**
 * What packages load and we never use: each such module of Node costs every start milliseconds. commander could start programs as
 * subcommands; pino could write from threads; `long` makes WebAssembly ready, and proto/codec.ts has 64-bit fields as numbers; `assert`
 * loads terminal colours and streams for a condition and a message.
 */
const unused = [
  { of: 'commander', module: 'node:child_process', instead: '' },
  { of: 'pino', module: 'thread-stream', instead: '' },
  { of: 'pino', module: 'worker_threads', instead: 'exports.isMainThread = true' },
  { of: 'pino', module: 'module', instead: '' },
  { of: 'protobufjs', module: 'long', instead: '' },
  // Images are not built here, and Docker is on this host.
  { of: 'dockerode', module: '@grpc/grpc-js', instead: '' },
  { of: 'dockerode', module: '@grpc/proto-loader', instead: '' },
  { of: 'dockerode', module: 'protobufjs', instead: '' },
  { of: 'dockerode', module: 'tar-fs', instead: '' },
  { of: 'docker-modem', module: 'ssh2', instead: '' },
  ...[
    ['sonic-boom', 'assert'],
    ['find-my-way', 'node:assert']
  ].map(([of, module]) => ({
    of,
    module,
    instead: 'module.exports = (holds, message) => { if (!holds) throw new Error(message) }'
  }))
]

const withoutUnused = {
  name: 'without-unused',
  setup(build) {
    for (const { of, module, instead } of unused) {
      const namespace = `${of} without ${module}`
      build.onResolve({ filter: new RegExp(`^${module}$`) }, ({ importer }) =>
        importer.includes(`node_modules/${of}/`) ? { path: module, namespace } : undefined
      )
      build.onLoad({ filter: /.*/, namespace }, () => ({ contents: instead, loader: 'js' }))
    }
  }
}

/** One program as the bytes of its file; tests put their own defines, edits and a first import in. */
export async function bundle(program, version, { define = {}, first = '', plugins = [] } = {}) {
  const { build } = await import('esbuild')
  const result = await build({
    stdin: { contents: first + entry(program), resolveDir: root, loader: 'ts' },
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    outfile: join(root, 'dist', `${program.name}.cjs`),
    minifyWhitespace: true,
    minifySyntax: true,
    legalComments: 'none',
    logLevel: 'warning',
    write: false,
    banner: {
      js: `#!/usr/bin/env node\nconst importMetaUrl = require("node:url").pathToFileURL(__filename).href;`
    },
    define: { 'import.meta.url': 'importMetaUrl', HEARTH_VERSION: JSON.stringify(version), ...define },
    plugins: [withoutUnused, ...plugins]
  })
  return result.outputFiles[0].contents
}

function scriptText({ from, starts, interpreter }) {
  const text = readFileSync(join(root, from), 'utf8')
  if (starts === undefined) return text
  return text.replace("const name = 'agent'", `const name = '${starts}'`).replace(/^#!.*/, `#!${interpreter}`)
}

/** Replaces the file by rename, and only where it differs: a running supervisor may read it at any moment. */
function put(path, bytes, mode) {
  if (existsSync(path) && readFileSync(path).equals(Buffer.from(bytes))) return false
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(`${path}.draft`, bytes)
  chmodSync(`${path}.draft`, mode)
  renameSync(`${path}.draft`, path)
  return true
}

/** npx looks for a command among the installed packages only, and this package is not installed in itself. */
function linkCommand() {
  const link = join(root, 'node_modules/.bin/hearth')
  if (lstatSync(link, { throwIfNoEntry: false }) === undefined) symlinkSync('../../dist/hearth.cjs', link)
}

/** The files of proto/gen that no longer say what proto/*.proto say. */
export async function staleProto() {
  const { generated } = await import('../proto/generate.mjs')
  return Object.entries(generated)
    .filter(([name, text]) => readFileSync(join(root, 'proto/gen', name), 'utf8') !== text)
    .map(([name]) => `proto/gen/${name}`)
}

export async function build({ partial = false } = {}) {
  const stale = await staleProto()
  const staleText = `${stale.join(', ')} is older than proto/*.proto: run node proto/generate.mjs`
  if (stale.length > 0 && !partial) giveUp(staleText)
  if (stale.length > 0) console.log(`hearth: ${staleText}`)
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const absent = programs.filter((p) => !existsSync(join(root, p.source)))
  if (absent.length > 0 && !partial) giveUp(`${absent.map((p) => p.source).join(', ')} must exist`)
  for (const p of absent) console.log(`hearth: left out ${p.name}: no ${p.source}`)
  const changed = []
  for (const p of [...programs.filter((p) => !absent.includes(p)), ...libraries]) {
    if (put(join(root, 'dist', `${p.name}.cjs`), await bundle(p, version), 0o755)) changed.push(p.name)
  }
  for (const a of addons) {
    if (existsSync(join(root, a.from))) put(join(root, 'dist', a.to), readFileSync(join(root, a.from)), 0o644)
  }
  for (const script of scripts) if (put(join(root, 'dist', script.name), scriptText(script), 0o755)) changed.push(script.name)
  linkCommand()
  return changed
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  bootstrap()
  const changed = await build({ partial: process.argv.includes('--partial') })
  console.log(changed.length === 0 ? 'hearth: dist/ is up to date' : `hearth: built ${changed.join(', ')}`)
}
