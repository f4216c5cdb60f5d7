import { randomBytes } from 'node:crypto'
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { Cluster, eventually, runProgram, startCluster } from '../support/cluster.ts'

const agentProgram = join(import.meta.dirname, '../../dist/agent.cjs')

t.test('a cluster in trouble loses nothing and says what is wrong', async (t) => {
  const cluster = await startCluster(t)
  const run = (...args: string[]) => cluster.hearth(['task', 'run', ...args])

  t.test('a second agent on the same directory is refused and names the first', async (t) => {
    const second = await runProgram(process.execPath, [agentProgram, '--state-dir', cluster.stateDir])
    t.equal(second.code, 73, second.stdout + second.stderr)
    t.match(second.stdout + second.stderr, /another agent/)
    t.equal((await run('--rm', 'host', '--', 'true')).code, 0)
  })

  t.test('a master that is killed comes back with all it knew, and running tasks never notice', async (t) => {
    await run('-d', '--name', 'steady', 'host', '--', 'sh', '-c', 'echo up; sleep 1000')
    await run('--name', 'done', 'host', '--', 'sh', '-c', 'exit 5')
    await cluster.replace('master')
    await eventually(async () => ((await cluster.hearth(['task', 'list'])).code === 0 ? true : undefined))
    t.match(await cluster.json(['task', 'show', 'done']), { state: 'failed', exitCode: 5 })
    await eventually(async () => {
      const task = await cluster.json<{ state: string }>(['task', 'show', 'steady'])
      return task.state === 'running' ? true : undefined
    })
    t.equal((await run('--rm', 'host', '--', 'echo', 'on')).stdout, 'on\n')
    t.equal((await cluster.hearth(['task', 'kill', '--grace', '0', 'steady'])).code, 0)
    await cluster.hearth(['task', 'wait', 'steady'])
    t.match(await cluster.json(['task', 'show', 'steady']), { state: 'killed' })
  })

  t.test('a cloned node is refused by name, and the tasks of the one that was first go on', async (t) => {
    t.equal((await run('-d', '--name', 'here', 'host', '--', 'sleep', '1000')).code, 0)
    const clone = new Cluster(mkdtempSync(join(tmpdir(), 'hearth-e2e-')))
    t.teardown(() => rmSync(clone.stateDir, { recursive: true }))
    const ledger = (of: Cluster): string => join(of.stateDir, 'agent/ledger')
    mkdirSync(ledger(clone), { recursive: true })
    for (const name of readdirSync(ledger(cluster)).filter((name) => name.endsWith('.log')))
      copyFileSync(join(ledger(cluster), name), join(ledger(clone), name))
    copyFileSync(join(cluster.stateDir, 'agent-token'), join(clone.stateDir, 'agent-token'))
    const masters = `unix:${join(cluster.stateDir, 'run/agents.sock')}`
    const words = ['--state-dir', clone.stateDir, '--masters', masters, '--health-dns', 'no']
    const second = await runProgram(process.execPath, [agentProgram, ...words])
    t.equal(second.code, 73, second.stdout + second.stderr)
    t.match(
      second.stderr,
      /^hearth agent: an agent with the id [0-9a-f]{32} is connected already, from host .*, and lives: if .* is a/m
    )
    t.match(second.stderr, /clone, stop its agent and give it a state directory of its own$/m)
    t.match(await cluster.json(['task', 'show', 'here']), { state: 'running', attempt: 1 })
    t.equal((await run('--rm', 'host', '--', 'true')).code, 0)
    await cluster.hearth(['task', 'rm', '--force', 'here'])
    t.equal((await clone.hearth(['down'])).code, 0, 'it left nothing that is in the way')
  })

  t.test('a monitor that is killed takes only the exit code along, which is said', async (t) => {
    interface Shown {
      readonly state: string
      readonly message: string | null
      readonly containerId: string
    }
    await run('-d', '--name', 'unwatched', 'host', '--', 'sh', '-c', 'echo before; exec sleep 1000')
    const { containerId } = await cluster.json<Shown>(['task', 'show', 'unwatched'])
    const pidOf = (file: string): number => Number(readFileSync(join(cluster.stateDir, 'run/c', containerId, file), 'utf8'))
    process.kill(pidOf('conmon.pid'), 'SIGKILL')
    const told = await eventually(async () => {
      const task = await cluster.json<Shown>(['task', 'show', 'unwatched'])
      return task.message === null || task.message === '' ? undefined : task
    })
    t.match(told, { state: 'running', message: /its monitor is gone: the task goes on, but its output is lost/ })
    await cluster.replace('agent')
    process.kill(pidOf('pid'), 'SIGKILL')
    await cluster.hearth(['task', 'wait', 'unwatched'])
    t.match(await cluster.json(['task', 'show', 'unwatched']), {
      state: 'failed',
      reason: 'exit_unknown',
      exitCode: null,
      attempt: 1
    })
    const explained = await cluster.hearth(['task', 'explain', 'unwatched'])
    t.match(explained.stdout, /exit code is not known[\s\S]*who kills conmon[\s\S]*before/, explained.stdout)
  })

  t.test('garbage, oversized and half frames on every socket cost only their sender', async (t) => {
    const oversized = Buffer.alloc(16)
    oversized.writeUInt32BE(0x7fffffff)
    for (const socket of ['agents.sock', 'master.sock', 'agent.sock']) {
      for (const bytes of [randomBytes(4_096), oversized, Buffer.from([0, 0, 0, 50, 1])]) {
        await new Promise<void>((resolve) => {
          const client = connect(join(cluster.stateDir, 'run', socket), () => client.end(bytes))
          client.on('error', () => undefined) // being cut off is an answer
          client.once('close', () => resolve())
          client.resume()
        })
      }
    }
    t.equal((await run('--rm', 'host', '--', 'true')).code, 0)
  })

  t.test('a container that writes a gigabyte keeps its log within the budget', async (t) => {
    const ran = await run(
      '-d',
      '--name',
      'loud',
      'host',
      '--',
      'sh',
      '-c',
      'head -c 1000000000 /dev/zero | tr "\\0" "x" | fold -w 1000; echo; echo the end'
    )
    t.equal(ran.code, 0, ran.stderr)
    await cluster.hearth(['task', 'wait', 'loud'])
    t.match(await cluster.json(['task', 'show', 'loud']), { state: 'finished' })
    const tail = await cluster.hearth(['task', 'logs', '--tail', '1', 'loud'])
    t.equal(tail.stdout, 'the end\n', tail.stderr)
    const du = await runProgram('du', ['-sb', join(cluster.stateDir, 'agent/sandboxes')])
    t.ok(Number(du.stdout.split('\t')[0]) < 120_000_000, du.stdout)
    await cluster.hearth(['task', 'rm', 'loud'])
  })

  t.test('a kill that comes while the agent is away is carried out when it is back', async (t) => {
    await run('-d', '--name', 'later', 'host', '--', 'sh', '-c', 'sleep 1000')
    await eventually(async () =>
      (await cluster.json<{ state: string }>(['task', 'show', 'later'])).state === 'running' ? true : undefined
    )
    process.kill(await eventually(() => cluster.pid('agent')), 'SIGKILL')
    t.equal((await cluster.hearth(['task', 'kill', '--grace', '0', 'later'])).code, 0)
    await cluster.hearth(['task', 'wait', 'later'])
    t.match(await cluster.json(['task', 'show', 'later']), { state: 'killed' })
  })
})
