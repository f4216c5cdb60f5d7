import t from 'tap'
import { eventually, startCluster } from '../support/cluster.ts'
import { kernelObjectsOf } from '../support/kernel.ts'

/** But for the boot-bound directory, which stays with the node until `hearth down`. */
const left = (stateDir: string): readonly string[] => kernelObjectsOf(stateDir).filter((o) => !o.startsWith('directory '))
const sleeping = (objects: readonly string[]): number => objects.filter((o) => o.startsWith('process sleep')).length

t.test('a node is stopped with and without its tasks, and with and without a living agent', async (t) => {
  const cluster = await startCluster(t)
  const run = await cluster.hearth(['task', 'run', '--detach', '--name', 'stays', 'host', '--', 'sleep', '1000'])
  t.equal(run.code, 0, run.stderr)

  const stop = await cluster.hearth(['node', 'stop'])
  t.equal(stop.code, 0, stop.stderr)
  t.match(stop.stdout, /its tasks go on\. To start it again: hearth up/)
  t.equal(sleeping(kernelObjectsOf(cluster.stateDir)), 1, 'the task goes on')
  const twice = await cluster.hearth(['node', 'stop'])
  t.equal(twice.code, 0, twice.stderr)
  t.match(twice.stdout, /no agent runs in .*; its tasks go on/)

  const alone = await cluster.hearth(['node', 'stop', '--workloads'])
  t.equal(alone.code, 0, alone.stderr)
  t.match(alone.stdout, /no agent runs in .*; its tasks have ended/)
  t.same(left(cluster.stateDir), [])

  t.equal((await cluster.hearth(['up', '--http', 'off'])).code, 0)
  await eventually(() => cluster.pid('agent'))
  await cluster.hearth(['task', 'run', '--detach', '--name', 'goes', 'host', '--', 'sleep', '1000'])
  const both = await cluster.hearth(['node', 'stop', '--workloads'])
  t.equal(both.code, 0, both.stderr)
  t.match(both.stdout, /are stopped; its tasks have ended/)
  t.same(left(cluster.stateDir), [])
  const none = await cluster.hearth(['node', 'stop', '--workloads'])
  t.equal(none.code, 0, none.stderr)
  t.match(none.stdout, /no tasks were left/)
})
