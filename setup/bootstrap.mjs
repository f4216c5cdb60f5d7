// Makes a fresh clone ready: Node's version, npm dependencies, host tools. Runs before npm has installed anything, so it imports nothing but Node.
import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = dirname(dirname(fileURLToPath(import.meta.url)))
const isRoot = process.getuid?.() === 0

/** Ends the program with one sentence. */
export function giveUp(sentence, code = 69) {
  console.error(`hearth: ${sentence}`)
  process.exit(code)
}

export function checkNode(version = process.versions.node) {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  if (major > 20 || (major === 20 && minor >= 19)) return undefined
  return `Node.js ${version} is too old: Hearth needs 20.19 or newer (https://nodejs.org/en/download).`
}

/** Whether node_modules holds what package-lock.json says; npm keeps its own record of what it installed there. */
export function dependenciesAreCurrent(directory = root) {
  const wanted = readPackages(join(directory, 'package-lock.json'))
  const have = readPackages(join(directory, 'node_modules/.package-lock.json'))
  if (wanted === undefined || have === undefined) return false
  return Object.entries(wanted).every(([path, entry]) => {
    if (path === '' || entry.link) return true
    const found = have[path]
    return found === undefined ? entry.optional === true : found.version === entry.version
  })
}

function readPackages(path) {
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')).packages : undefined
}

export function installDependencies() {
  if (dependenciesAreCurrent()) return
  console.log('hearth: installing npm dependencies')
  // Not `npm ci`: it refuses a lock file that lacks an optional package of some other platform.
  const args = ['install', '--no-save', '--no-audit', '--no-fund', '--loglevel=error']
  const run = spawnSync('npm', args, { cwd: root, encoding: 'utf8' })
  if (run.error !== undefined) giveUp(`npm could not be run (${run.error.message}); install npm and try again.`)
  if (run.status === 0) return
  console.error(run.stdout + run.stderr)
  giveUp('npm install failed, see above.')
}

const needs = {
  run: ['run'],
  start: ['run', 'start'],
  test: ['run', 'start', 'test'],
  package: ['package'],
  vm: ['package', 'vm']
}

/** The host tools that are not there, out of those that `purpose` (a key of `needs`) needs. */
export function missingTools(purpose, path = searchPath()) {
  const { tools } = JSON.parse(readFileSync(join(root, 'cli/host-tools.json'), 'utf8'))
  return tools.filter((t) => needs[purpose].includes(t.need) && !isThere(t.program, path))
}

/** Root's tools lie in sbin, which the path of `su` and of cron may lack. */
const searchPath = () => `${process.env.PATH ?? ''}:/usr/local/sbin:/usr/sbin:/sbin`

function isThere(program, path) {
  if (program.startsWith('/')) return existsSync(program)
  return path.split(':').some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK)
      return folder !== ''
    } catch {
      return false // not in this folder
    }
  })
}

export const aptCommand = (missing) => `apt-get install -y ${packages(missing, 'deb')}`
export const dnfCommand = (missing) => `dnf install -y ${packages(missing, 'rpm')}`
const packages = (missing, kind) => [...new Set(missing.map((t) => t[kind]))].join(' ')

/** Installs what is missing through apt; returns what is missing still. */
export function installTools(purpose) {
  const missing = missingTools(purpose)
  if (missing.length === 0 || !isRoot || !existsSync('/usr/bin/apt-get')) return missing
  const log = join(root, '.cache/apt.log')
  console.log(`hearth: installing ${packages(missing, 'deb')} with apt-get (its output: ${log})`)
  mkdirSync(dirname(log), { recursive: true })
  const out = openSync(log, 'w')
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  const apt = (args) => spawnSync('apt-get', args, { env, stdio: ['ignore', out, out] }).status === 0
  const install = ['install', '-y', '-q', '--no-install-recommends', ...packages(missing, 'deb').split(' ')]
  if (!apt(install) && apt(['update', '-q'])) apt(install)
  return missingTools(purpose)
}

/** One sentence with what is missing and the commands that bring it. */
export function describeMissing(missing) {
  const names = missing.map((t) => t.program).join(', ')
  return `these host tools are missing: ${names}. Debian, Ubuntu: sudo ${aptCommand(missing)}; Fedora, RHEL: sudo ${dnfCommand(missing)}`
}

export function bootstrap() {
  const tooOld = checkNode()
  if (tooOld !== undefined) giveUp(tooOld)
  installDependencies()
}
