import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { Cluster, eventually, startCluster } from '../support/cluster.ts'
import { kernelObjectsOf } from '../support/kernel.ts'

t.test('up, run, down: the kernel is as it was before, images, ledger and logs are kept', async (t) => {
  const cluster = new Cluster(mkdtempSync(join(tmpdir(), 'hearth-e2e-')))
  t.teardown(async () => {
    await cluster.hearth(['down', '--purge'])
    rmSync(cluster.stateDir, { recursive: true, force: true })
  })
  t.same(kernelObjectsOf(cluster.stateDir), [])
  const up = await cluster.hearth(['up', '--http', 'off'])
  t.equal(up.code, 0, up.stderr)
  t.match(up.stdout, 'npx hearth task run --rm host -- uname -a')
  const running = await cluster.hearth(['task', 'run', '--detach', '--name', 'left', 'host', '--', 'sleep', '1000'])
  t.equal(running.code, 0, running.stderr)
  const none = await cluster.hearth(['task', 'run', '--detach', '--network', 'none', 'host', '--', 'sleep', '1000'])
  t.equal(none.code, 0, none.stderr)
  await cluster.hearth(['task', 'run', '--rm', 'host', '--', 'true'])
  t.ok(kernelObjectsOf(cluster.stateDir).length > 4, 'there is something to take down')

  const again = await cluster.hearth(['up', '--http', 'off'])
  t.equal(again.code, 0, again.stderr)
  t.match(again.stdout, 'up already')

  const down = await cluster.hearth(['down'])
  t.equal(down.code, 0, down.stderr)
  t.same(kernelObjectsOf(cluster.stateDir), [])
  t.ok(existsSync(join(cluster.stateDir, 'agent/ledger')))
  t.ok(existsSync(join(cluster.stateDir, 'agent/images')))
  t.ok(existsSync(join(cluster.stateDir, 'logs/agent.log')))

  const twice = await cluster.hearth(['down'])
  t.equal(twice.code, 0, twice.stderr)

  t.equal((await cluster.hearth(['up', '--http', 'off'])).code, 0, 'it comes up again on what was kept')
  const tasks = await cluster.json<readonly { name: string; state: string }[]>(['task', 'list', '--all'])
  t.match(
    tasks.find((task) => task.name === 'left'),
    { state: 'killed' }
  )
  t.equal((await cluster.hearth(['down', '--purge'])).code, 0)
  t.notOk(existsSync(cluster.stateDir) && readdirSync(cluster.stateDir).length > 0)
  t.same(kernelObjectsOf(cluster.stateDir), [])
})

t.test('an agent that died is started again, and down works while the agent is dead', async (t) => {
  const cluster = await startCluster(t)
  await cluster.hearth(['task', 'run', '--detach', '--name', 'orphan', 'host', '--', 'sleep', '1000'])
  for (const name of ['supervisor', 'agent'] as const) process.kill(await eventually(() => cluster.pid(name)), 'SIGKILL')
  const down = await cluster.hearth(['down'])
  t.equal(down.code, 0, down.stderr)
  t.same(kernelObjectsOf(cluster.stateDir), [])
})

t.test('a client without a cluster is told where it looked and what to do', async (t) => {
  const cluster = new Cluster(join(t.testdir(), 'none'))
  const ran = await cluster.hearth(['task', 'list'])
  t.equal(ran.code, 69)
  t.match(ran.stderr, cluster.stateDir)
  t.match(ran.stderr, /hearth up|npm start/)
  t.equal(ran.stderr.trim().split('\n').length, 1, ran.stderr)
})
