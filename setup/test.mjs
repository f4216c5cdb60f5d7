// npm test: every test that needs no virtual machine. Files below test/host and test/e2e need root and say so where it lacks.
// Arguments name files or folders to run instead of all; `--node 24` runs them, and the programs that they start, on that Node.
// The summary counts assertions.
import { spawn } from 'node:child_process'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { bootstrap, describeMissing, giveUp, installTools, root } from './bootstrap.mjs'
import { closeLane } from './lane.mjs'
import { findNodeRuntime, runtimeVersion } from './node-runtime.mjs'

const budgetMinutes = 8
const rootFolders = ['test/host/', 'test/e2e/']
export const needsRoot = (file) => rootFolders.some((folder) => file.startsWith(folder))

/** These have a lane of their own, `npm run test:vm`. */
const needsMachine = (file) => file.startsWith('test/vm/')

export function testFiles(places) {
  const files = places.flatMap((place) => {
    const path = join(root, place)
    if (!existsSync(path)) giveUp(`there is no ${place}`, 64)
    if (statSync(path).isFile()) return [place]
    return readdirSync(path, { recursive: true }).map((f) => join(relative(root, path), f))
  })
  return [...new Set(files)].filter((f) => f.endsWith('.test.ts')).sort()
}

/** Reads TAP as it comes, tells each file's end, prints what failed, and counts. Takes tap's buffered and its plain form. */
export class TapSummary {
  passed = 0
  failed = 0
  skipped = 0
  #files = 0
  #failedFiles = 0
  #held = []
  #failing = false
  #print
  #steps

  /** `steps`: tells the end of each subtest too, for files that take minutes. */
  constructor(print, { steps = false } = {}) {
    this.#print = print
    this.#steps = steps
  }

  push(line) {
    const end = /^(not )?ok \d+ - (.+?)(?: # time=(\S+))?( \{)?$/.exec(line)
    if (end !== null) this.#closeFile(end[1] === undefined, end[2], end[3], end[4] !== undefined)
    else if (!this.#readTotal(line)) this.#detail(line)
  }

  /** What tap's exit code says counts too: a run that died must not look like one that passed. */
  close(exitCode) {
    this.failed = Math.max(this.failed, this.#failedFiles, exitCode === 0 ? 0 : 1)
    if (this.#files === 0 && this.failed === 0) this.failed = 1
    const more = this.skipped > 0 ? `, ${this.skipped} skipped` : ''
    return `${this.passed} passed, ${this.failed} failed${more}`
  }

  #closeFile(ok, file, time, buffered) {
    this.#files += 1
    if (!ok) this.#failedFiles += 1
    this.#print(`${ok ? 'ok    ' : 'FAILED'} ${file}${time === undefined ? '' : ` (${time})`}`)
    if (!ok && !buffered) for (const line of this.#held) this.#print(line)
    this.#failing = !ok
    this.#held = []
  }

  #readTotal(line) {
    const total = /^# \{ total: \d+(?:, pass: (\d+))?(?:, fail: (\d+))?(?:, skip: (\d+))?(?:, todo: (\d+))? \}$/.exec(line)
    if (total === null) return false
    const [, pass = '0', fail = '0', skip = '0', todo = '0'] = total
    this.passed = Number(pass)
    this.failed = Number(fail)
    this.skipped = Number(skip) + Number(todo)
    return true
  }

  /** Lines of a file come before its end in plain form and after it in buffered form; at most 2,000 are held. */
  #detail(line) {
    if (line.startsWith('TAP version') || line.startsWith('1..') || line.trim() === '') return
    const step = this.#steps ? /^( {4,})(not )?ok \d+ - (.+) # time=([\d.]+)ms/.exec(line) : null
    if (step !== null) this.#print(`${step[1]}${step[2] ?? ''}ok ${step[3]} (${(Number(step[4]) / 1000).toFixed(1)} s)`)
    if (this.#failing && (line.startsWith(' ') || line === '}')) this.#print(line)
    else {
      this.#held.push(line)
      if (this.#held.length > 2000) this.#held.shift()
    }
  }
}

const hook = pathToFileURL(join(root, 'setup/typescript-hook.mjs')).href

/** Runs the files, `jobs` at a time; the variables of `env` are the tests' too. */
export function runTap(files, { jobs = 2, env = {}, timeoutSeconds, steps = false } = {}) {
  const summary = new TapSummary((line) => console.log(line), { steps })
  const patience = timeoutSeconds === undefined ? [] : [`--timeout=${timeoutSeconds}`]
  const args = ['run', `-j${jobs}`, ...patience, '--disable-coverage', '--reporter=tap', ...files]
  const child = spawn(join(root, 'node_modules/.bin/tap'), args, {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ''} --import=${hook}`.trim(), ...env }
  })
  createInterface({ input: child.stdout }).on('line', (line) => summary.push(line))
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve({ line: summary.close(code ?? 1), ok: summary.failed === 0 && code === 0 }))
  })
}

/** The words of the command line; ends the program with one sentence where they make no sense. */
export function readArguments(words) {
  try {
    const { values, positionals } = parseArgs({ args: words, options: { node: { type: 'string' } }, allowPositionals: true })
    return { named: positionals, node: values.node }
  } catch (e) {
    return giveUp(`${e.message.split(/[.\n]/)[0]}; npm test -- [--node ${majorOf(runtimeVersion)}] [FILE or FOLDER...]`, 64)
  }
}

const majorOf = (version) => version.replace(/^v/, '').split('.')[0]

/** What has tap and all that it starts run on the Node of that version: the one at hand, or the one the Debian package carries. */
function environmentOf(node) {
  if (node === undefined || node === majorOf(process.version)) return {}
  if (node !== majorOf(runtimeVersion)) {
    giveUp(`tests run on Node ${majorOf(process.version)}, which is at hand, or ${majorOf(runtimeVersion)}, not on ${node}`, 64)
  }
  const { program, failure } = findNodeRuntime()
  if (program === undefined) giveUp(failure)
  return { PATH: `${dirname(program)}:${process.env.PATH}` }
}

async function main() {
  const started = performance.now()
  const { named, node } = readArguments(process.argv.slice(2))
  bootstrap()
  const missing = installTools('test')
  const isRoot = process.getuid?.() === 0
  if (missing.length > 0 && isRoot) giveUp(describeMissing(missing))
  const env = environmentOf(node)
  const { build } = await import('./build.mjs')
  await build()
  const all = testFiles(named.length > 0 ? named : ['test']).filter((f) => named.includes(f) || !needsMachine(f))
  const files = isRoot ? all : all.filter((f) => !needsRoot(f))
  const left = all.length - files.length
  for (const file of all.filter((f) => !files.includes(f))) console.log(`not run: needs root: ${file}`)
  const { line, ok } = files.length === 0 ? { line: '0 passed, 1 failed', ok: false } : await runTap(files, { env })
  const inTime = closeLane('test', started, budgetMinutes)
  console.log(line)
  if (left > 0) console.log(`not run: needs root: ${left} of ${all.length} test files`)
  process.exitCode = ok && inTime ? 0 : 1
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main()
