import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { eventually, runProgram, startCluster } from '../support/cluster.ts'
import { kernelObjectsOf } from '../support/kernel.ts'

interface Task {
  readonly state: string
  readonly reason: string | null
  readonly exitCode: number | null
  readonly containerId: string
}

/** A Debian root file system with redis-server, built from packages once and kept for later runs of the tests. */
async function debianWithRedis(): Promise<string> {
  const cache = join(import.meta.dirname, '../../.cache')
  const archive = join(cache, 'debian-redis.tar')
  mkdirSync(cache, { recursive: true })
  const built = await runProgram('sh', [
    '-c',
    `[ -s "$1" ] || { mmdebstrap --format=tar --variant=essential --include=redis-server bookworm "$1.draft" && mv "$1.draft" "$1"; }`,
    'sh',
    archive
  ])
  if (built.code !== 0) throw new Error(`mmdebstrap: ${built.stderr.slice(-2_000)}`)
  return archive
}

t.test('a real database from a real image outlives the agent, and not a log line is lost', async (t) => {
  const archive = await debianWithRedis()
  const cluster = await startCluster(t)
  const imported = await cluster.hearth(['image', 'import', '--name', 'redis:test', archive])
  t.equal(imported.code, 0, imported.stderr)
  t.match((await cluster.hearth(['image', 'list'])).stdout, /redis/)

  // redis answers, and beside it a counter writes numbered lines to the same log
  const program =
    'redis-server --port 6399 --bind 127.0.0.1 --save "" & i=0; while :; do i=$((i+1)); echo line $i; sleep 0.02; done'
  const started = await cluster.hearth([
    ...['task', 'run', '-d', '--name', 'db', '--network', 'none', '--memory', '256m', '--cpus', '0.9'],
    ...['redis:test', '--', 'sh', '-c', program]
  ])
  t.equal(started.code, 0, started.stderr)
  const cli = (...args: string[]) => cluster.hearth(['task', 'exec', 'db', '--', 'redis-cli', '-p', '6399', ...args])
  await eventually(async () => ((await cli('ping')).stdout === 'PONG\n' ? true : undefined))
  t.equal((await cli('set', 'key', 'value')).stdout, 'OK\n')
  const before = await cluster.json<Task>(['task', 'show', 'db'])
  const processes = () => execFileSync('pgrep', ['-f', 'redis-server.*:6399'], { encoding: 'utf8' })
  const pids = processes()

  await cluster.replace('agent')
  await eventually(async () => ((await cli('get', 'key')).stdout === 'value\n' ? true : undefined))
  t.equal(processes(), pids, 'the same process still runs')
  t.equal((await cluster.json<Task>(['task', 'show', 'db'])).containerId, before.containerId)

  const killed = await cluster.hearth(['task', 'kill', '--grace', '100ms', 'db'])
  t.equal(killed.code, 0, killed.stderr)
  await cluster.hearth(['task', 'wait', 'db'])
  t.match(await cluster.json<Task>(['task', 'show', 'db']), { state: 'killed', reason: 'kill_requested', exitCode: 137 })
  const numbers = (await cluster.hearth(['task', 'logs', 'db'])).stdout.match(/(?<=^line )\d+$/gm) ?? []
  t.ok(numbers.length > 10)
  t.same(
    numbers,
    numbers.map((_, i) => String(i + 1)),
    'every line once and in order'
  )

  t.equal((await cluster.hearth(['task', 'rm', 'db'])).code, 0)
  t.equal((await cluster.hearth(['image', 'rm', 'redis:test'])).code, 0)
  t.equal((await cluster.hearth(['down'])).code, 0)
  t.same(kernelObjectsOf(cluster.stateDir), [])
})
