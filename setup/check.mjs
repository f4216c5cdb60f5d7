// npm run check: everything that can be said about the sources without running them.
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { bootstrap, giveUp, root } from './bootstrap.mjs'
import { closeLane } from './lane.mjs'

const budgetMinutes = 2
if (process.argv.length > 2) giveUp(`npm run check takes no arguments, not ${process.argv[2]}`, 64)
const started = performance.now()
bootstrap()

const tools = [
  { name: 'biome', args: ['node_modules/.bin/biome', 'check', '--error-on-warnings'] },
  // What it knows of unchanged files is kept beside the build: a second check takes a third of the time.
  { name: 'tsc', args: ['node_modules/.bin/tsc', '--noEmit', '--incremental', '--tsBuildInfoFile', 'dist/tsc.json'] },
  { name: 'eslint', args: ['node_modules/.bin/eslint', '.', '--max-warnings=0'] },
  { name: 'knip', args: ['node_modules/.bin/knip', '--no-progress', '--treat-config-hints-as-errors'] },
  { name: 'proto', args: [process.execPath, '--input-type=module', '-e', freshness()] }
]

function freshness() {
  return `import { staleProto } from ${JSON.stringify(join(root, 'setup/build.mjs'))}
    const stale = await staleProto()
    for (const file of stale) console.error(file + ' is older than proto/*.proto: run node proto/generate.mjs')
    process.exit(stale.length > 0 ? 1 : 0)`
}

function run({ name, args: [program, ...args] }) {
  return new Promise((resolve) => {
    const child = spawn(program, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text))
    child.on('error', (e) => resolve({ name, ok: false, output: e.message }))
    child.on('close', (code) => resolve({ name, ok: code === 0, output }))
  })
}

const waiting = [...tools]
const results = []
async function worker() {
  for (let tool = waiting.shift(); tool !== undefined; tool = waiting.shift()) {
    const result = await run(tool)
    results.push(result)
    console.log(`${result.ok ? 'ok    ' : 'failed'} ${result.name}`)
    if (!result.ok) console.log(result.output.trimEnd())
  }
}
await Promise.all([worker(), worker()])
const inTime = closeLane('check', started, budgetMinutes)
process.exit(inTime && results.every((r) => r.ok) ? 0 : 1)
