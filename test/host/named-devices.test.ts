import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { scalar } from '../../proto/resources.ts'
import { taskHost } from '../support/task-host.ts'

t.test('tasks get devices by number, different ones, and keep them over the agent’s restart', async (t) => {
  const host = taskHost(t)
  const nodes = ['g0', 'g1'].map((name) => join(host.directory, name))
  for (const node of nodes) execFileSync('mknod', [node, 'c', '1', '3'])
  const devices = new Map([['gpu', nodes.map((node) => [node])]])
  const held = `for n in ${nodes.join(' ')}; do [ -c $n ] && echo x > $n && echo has $n; done; exec sleep 1000`
  const asks = { resources: [scalar('gpu', 1000)], process: { arguments: ['sh', '-c', held] } }
  const first = await host.begin('boot-1', devices)
  await first.launch({ ...asks, taskId: 'a' })
  await first.told('a', (s) => s.state === 'running')
  await first.crash()
  const second = await host.begin('boot-1', devices)
  await second.launch({ ...asks, taskId: 'b' })
  await second.told('b', (s) => s.state === 'running')
  await second.launch({ ...asks, taskId: 'c' })
  const refused = await second.told('c', (s) => s.state === 'failed')
  t.match(refused, { reason: 'resources_unknown', message: 'the task asks for 1 gpu, and of the 2 of this node 0 are free' })
  const configOf = (taskId: string) => readFileSync(join(second.tasks.find('f', taskId)?.bundleDir ?? '', 'config.json'), 'utf8')
  const used = ['a', 'b'].map((taskId) => nodes.filter((node) => configOf(taskId).includes(`"path":"${node}"`)))
  t.same(used.flat().sort(), nodes, 'each has one of its own')
})
