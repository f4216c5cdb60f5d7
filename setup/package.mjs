// npm run package: builds hearth_VERSION_amd64.deb, which needs no Node on the host. The same commit makes the same bytes.
//   --release     packs it as small as can be (xz, a minute) instead of quickly (zstd)
//   --out FOLDER  where to put it (dist/)
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync
} from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { gzipSync } from 'node:zlib'
import { bootstrap, describeMissing, giveUp, installTools, root } from './bootstrap.mjs'
import { addons, build, libraries, programs } from './build.mjs'
import { manPage } from './man-page.mjs'
import { findNodeRuntime } from './node-runtime.mjs'

const mostBytes = 40e6
const systemd = join(root, 'systemd')
const library = 'usr/lib/hearth'

/** What runs a container, and what the bundled programs and Node call. Versions are those of the oldest Debian supported. */
const depends = [
  ...['conmon (>= 2.1)', 'golang-github-containers-common', 'iproute2', 'libc6 (>= 2.36)', 'libstdc++6', 'nftables'],
  ...['perl-base', 'runc (>= 1.1)', 'systemd (>= 249)', 'tar', 'util-linux', 'zstd']
]
const scripts = ['preinst', 'postinst', 'prerm', 'postrm']
const conffiles = ['etc/hearth/agent.json', 'etc/hearth/master.json']

/** Builds the package into `out` and returns its path. `version` replaces the one of package.json, for tests of upgrades. */
export async function buildPackage({ out = join(root, 'dist'), release = false, version = versionOfSources() } = {}) {
  const seconds = sourceDate()
  mkdirSync(join(root, '.cache'), { recursive: true })
  const tree = mkdtempSync(join(root, '.cache/package-'))
  try {
    await lay(tree, version, seconds)
    for (const path of everything(tree)) {
      // Whatever the umask of who builds.
      if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) chmodSync(path, 0o755)
      lutimesSync(path, seconds, seconds)
    }
    const deb = join(out, `hearth_${version}_amd64.deb`)
    mkdirSync(out, { recursive: true })
    const packing = release ? ['-Zxz', '-z6'] : ['-Zzstd', '-z6']
    // One thread: with more, the bytes depend on the machine.
    const args = [...packing, '--threads-max=1', '--root-owner-group', '--build', tree, deb]
    run('dpkg-deb', args, { SOURCE_DATE_EPOCH: String(seconds) })
    if (statSync(deb).size > mostBytes) giveUp(`${deb} is larger than ${mostBytes / 1e6} MB: look at what went into dist/`)
    return deb
  } finally {
    rmSync(tree, { recursive: true })
  }
}

async function lay(tree, version, seconds) {
  const put = (path, content, mode = 0o644) => {
    mkdirSync(dirname(join(tree, path)), { recursive: true })
    writeFileSync(join(tree, path), content)
    chmodSync(join(tree, path), mode)
  }
  const copy = (from, path, mode) => put(path, readFileSync(from), mode)
  const here = `${library}/versions/${version}`
  const runtime = findNodeRuntime()
  if (runtime.failure !== undefined) giveUp(runtime.failure)
  mkdirSync(join(tree, here), { recursive: true })
  run('strip', ['-o', join(tree, here, 'node'), runtime.program])
  chmodSync(join(tree, here, 'node'), 0o755)
  for (const { name } of [...programs, ...libraries]) copy(join(root, `dist/${name}.cjs`), `${here}/${name}.cjs`)
  for (const { to } of addons) copy(join(root, 'dist', to), `${here}/${to}`)
  copy(join(root, 'dist/launch-agent'), `${library}/launch-agent`, 0o755)
  for (const name of ['start-agent.cjs', 'hearth.cjs']) copy(join(root, 'dist', name), `${here}/${name}`)
  copy(join(root, 'dist/lease-watchdog'), `${here}/lease-watchdog`, 0o755)
  symlinkSync(`versions/${version}`, join(tree, library, 'current'))
  copy(join(systemd, 'debian/hearth'), 'usr/bin/hearth', 0o755)

  for (const unit of readdirSync(systemd).filter((name) => /\.(service|slice)$/.test(name)))
    copy(join(systemd, unit), `usr/lib/systemd/system/${unit}`)
  copy(join(systemd, 'sysusers.conf'), 'usr/lib/sysusers.d/hearth.conf')
  copy(join(systemd, 'tmpfiles.conf'), 'usr/lib/tmpfiles.d/hearth.conf')
  for (const daemon of ['agent', 'master']) copy(join(systemd, `${daemon}.json`), `etc/hearth/${daemon}.json`)

  const doc = 'usr/share/doc/hearth'
  for (const page of ['systemd', 'identity']) copy(join(root, `docs/${page}.md`), `${doc}/${page}.md`)
  put(`${doc}/changelog.gz`, gzipSync(readFileSync(join(root, 'CHANGELOG.md')), { level: 9 }))
  put(`${doc}/copyright`, copyright(readFileSync(runtime.license, 'utf8')))
  for (const [path, text] of await writtenByTree(version, seconds)) put(path, text)

  for (const script of scripts) copy(join(systemd, 'debian', script), `DEBIAN/${script}`, 0o755)
  put('DEBIAN/conffiles', conffiles.map((path) => `/${path}\n`).join(''))
  put('DEBIAN/control', control(version, everything(tree)))
}

/** Manual page and completions, out of the command line's own tree of commands. */
async function writtenByTree(version, seconds) {
  const { build: bundle } = await import('esbuild')
  const file = join(root, '.cache/package-tree.mjs')
  const contents = `
    export { buildProgram } from './cli/program.ts'
    export { scriptFor } from './cli/completion-script.ts'
    export { agentSettings } from './agent/config.ts'
    export { masterSettings } from './master/config.ts'
    export { keyOf } from './base/settings.ts'`
  await bundle({
    stdin: { contents, resolveDir: root, loader: 'ts' },
    ...{ bundle: true, platform: 'node', format: 'esm', packages: 'external', outfile: file, logLevel: 'warning' },
    splitting: false
  })
  const tree = await import(pathToFileURL(file).href)
  rmSync(file)
  const program = tree.buildProgram({ streams: { stdout: {}, stderr: {} } }, () => undefined)
  const configs = [
    { daemon: 'agent', file: '/etc/hearth/agent.json', settings: tree.agentSettings },
    { daemon: 'master', file: '/etc/hearth/master.json', settings: tree.masterSettings }
  ]
  const page = manPage({ program, configs, keyOf: tree.keyOf, version, seconds })
  return [
    ['usr/share/man/man1/hearth.1.gz', gzipSync(page, { level: 9 })],
    ['usr/share/bash-completion/completions/hearth', tree.scriptFor('bash', program)],
    ['usr/share/zsh/vendor-completions/_hearth', tree.scriptFor('zsh', program)],
    ['usr/share/fish/vendor_completions.d/hearth.fish', tree.scriptFor('fish', program)]
  ]
}

function control(version, paths) {
  const bytes = paths.map((path) => statSync(path, { throwIfNoEntry: false })?.size ?? 0).reduce((a, b) => a + b, 0)
  return `Package: hearth
Version: ${version}
Architecture: amd64
Maintainer: The Hearth maintainers <maintainers@hearth.invalid>
Installed-Size: ${Math.ceil(bytes / 1024)}
Depends: ${depends.join(', ')}
Suggests: crun
Section: admin
Priority: optional
Description: datacenter operating system: many Linux machines, used as one
 A master shares the machines out by offers, an agent on each of them runs
 containers over conmon and runc, and survives its own death and upgrade.
 .
 The package carries its own Node.js runtime.
`
}

const copyright = (node) => `Hearth is free software under the Apache License, version 2.0; on Debian systems its text is in
/usr/share/common-licenses/Apache-2.0.

The package carries Node.js and the libraries that are bundled into its programs. Node.js:

${node}`

const versionOfSources = () => JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version

/** Seconds that stand for the time of the sources: SOURCE_DATE_EPOCH, or that of the last commit. */
function sourceDate() {
  const given = process.env.SOURCE_DATE_EPOCH ?? ''
  if (/^\d+$/.test(given)) return Number(given)
  const git = spawnSync('git', ['-C', root, 'log', '-1', '--format=%ct'], { encoding: 'utf8' })
  if (git.status !== 0)
    giveUp('the sources are in no git repository: set SOURCE_DATE_EPOCH to the seconds since 1970 to date them')
  return Number(git.stdout)
}

/** Every path below the folder, the deepest first. */
function everything(folder) {
  const below = readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name)
    return entry.isDirectory() ? everything(path) : [path]
  })
  return [...below, folder]
}

function run(program, args, env = {}) {
  const done = spawnSync(program, args, { encoding: 'utf8', env: { ...process.env, ...env } })
  if (done.status !== 0) giveUp(`${program} failed: ${(done.stderr || done.error?.message || '').trim()}`)
}

function readArguments(args) {
  try {
    return parseArgs({ args, options: { release: { type: 'boolean' }, out: { type: 'string' } } }).values
  } catch (e) {
    return giveUp(`${e.message.split(/[.\n]/)[0]}; npm run package -- [--release] [--out FOLDER]`, 64)
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const values = readArguments(process.argv.slice(2))
  bootstrap()
  const missing = installTools('package')
  if (missing.length > 0) giveUp(describeMissing(missing))
  await build()
  const deb = await buildPackage(values)
  console.log(`hearth: ${relative(process.cwd(), deb)}, ${(statSync(deb).size / 1e6).toFixed(1)} MB`)
}
