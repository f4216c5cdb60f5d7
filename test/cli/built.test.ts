import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { serveTask } from './fake-operator.ts'

const program = join(import.meta.dirname, '../../dist/hearth.cjs')
const env = { PATH: process.env['PATH'], HEARTH_STATE_DIR: '/nonexistent/hearth' }
const options = { encoding: 'utf8', env } as const

t.before(() => {
  if (!existsSync(program)) throw new Error('dist/hearth.cjs is not there: run node setup/build.mjs')
})

t.test('--env-file is ours and not that of node', async (t) => {
  const file = join(t.testdir(), 'none')
  const words = ['task', 'run', '--env-file', file, 'host', 'true']
  for (const run of [spawnSync(program, words, options), spawnSync(process.execPath, ['--', program, ...words], options)]) {
    t.match(run, { status: 66, stderr: `hearth: --env-file: ${file} cannot be read (ENOENT)\n`, stdout: '' })
  }
})

t.test('a file for the task does not become the environment of the command', async (t) => {
  const file = join(t.testdir(), 'env')
  writeFileSync(file, 'HEARTH_STATE_DIR=/from/the/file\n')
  const run = spawnSync(program, ['task', 'run', '--env-file', file, 'host', 'true'], { ...options, env: { PATH: env.PATH } })
  t.notMatch(run.stderr, /from\/the\/file/)
})

t.test('when the reader of its output leaves, a run kills its task and ends with 141', async (t) => {
  const { address, requests } = await serveTask(t)
  const child = spawn(program, ['task', 'run', 'host', 'yes'], { env: { ...env, HEARTH_ADDR: address } })
  let said = ''
  child.stderr.on('data', (bytes: Buffer) => (said += bytes.toString()))
  child.stdout.once('data', () => child.stdout.destroy())
  const [code] = await once(child, 'close')
  t.equal(code, 141)
  t.equal(said, '')
  t.ok(requests.includes('POST /v1/tasks/a/kill'))
})
