import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Task } from '../../sdk/operator-messages.ts'
import { eventually } from '../support/cluster.ts'
import { MasterCluster } from '../support/masters.ts'

t.test('all masters and their disks are lost: the tasks run on and are known again, and nothing is started twice', async (t) => {
  const cluster = MasterCluster.make(t)
  const [first, second, third] = [await cluster.master(), await cluster.master(), await cluster.master()]
  first.start()
  await cluster.leader([first])
  for (const master of [second, third]) master.wait(first)
  await eventually(async () => {
    const ran = await first.hearth(['raft', 'add', second.address, third.address])
    return ran.code === 0 ? ran : undefined
  })
  const agentDir = cluster.agent([first, second, third])
  const nodes = (): Promise<{ connected: boolean }[]> => first.json(['node', 'ls'])
  await eventually(async () => ((await nodes())[0]?.connected ? true : undefined))
  const kept = ['--name', 'kept', '-e', 'SAID=so', 'host', '--', 'sleep', '600']
  const over = ['--name', 'over', 'host', '--', 'sh', '-c', 'sleep 5; exit 7']
  for (const words of [kept, over]) {
    const { code, stderr } = await first.hearth(['task', 'run', '-d', ...words])
    t.equal(code, 0, stderr)
  }
  const shown = (name: string): Promise<Task> => first.json<Task>(['task', 'show', name])
  const before = await eventually(async () => {
    const task = await shown('kept')
    return task.state === 'running' && (await shown('over')).startedAtMs !== null ? task : undefined
  })

  const { clusterId } = JSON.parse(readFileSync(join(first.stateDir, 'identity.json'), 'utf8')) as { readonly clusterId: string }
  for (const master of cluster.masters) await master.end('SIGKILL')
  for (const { stateDir } of cluster.masters) rmSync(stateDir, { recursive: true, force: true })
  mkdirSync(first.stateDir)
  copyFileSync(join(agentDir, 'agent-token'), join(first.stateDir, 'agent-token'))

  t.match(await first.hearth(['raft', 'recover', '--from-agents']), { code: 64, stderr: /cluster id/ })
  const recovered = await first.hearth(['raft', 'recover', '--from-agents', '--cluster-id', clusterId])
  t.match(recovered, { code: 0, stdout: /rebuild-from-agents yes/ }, recovered.stderr)
  first.start(['--rebuild-from-agents', 'yes'])
  await cluster.leader([first])
  const same = { containerId: before.containerId, attempt: 1, startedAtMs: before.startedAtMs, image: before.image }
  const again = await eventually(async () => {
    const task = await shown('kept').catch(() => undefined)
    return task?.state === 'running' ? task : undefined
  })
  t.match(again, same, 'it was never started again')
  t.match(again.arguments, before.arguments)
  t.match(
    await eventually(async () => {
      const task = await shown('over').catch(() => undefined)
      return task?.state === 'failed' ? task : undefined
    }),
    { exitCode: 7, attempt: 1 }
  )

  await first.end('SIGTERM')
  first.start([])
  await cluster.leader([first])
  await eventually(async () => ((await nodes())[0]?.connected ? true : undefined))
  t.match(
    await eventually(async () => {
      const task = await shown('kept')
      return task.state === 'running' ? task : undefined
    }),
    same,
    'and stays where the log is what counts again'
  )
  t.equal(readdirSync(join(agentDir, 'agent/sandboxes')).length, 2, 'each task has had one container')
  t.equal((await first.hearth(['task', 'kill', 'kept'])).code, 0)
  await eventually(async () => ((await shown('kept')).state === 'killed' ? true : undefined))
})
