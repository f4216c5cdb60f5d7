import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Task } from '../../sdk/operator-messages.ts'
import { eventually } from '../support/cluster.ts'
import { freePort, MasterCluster, type MasterDaemon } from '../support/masters.ts'

t.test('a master that was alone is the first of three, and the tasks go on when the leader is killed', async (t) => {
  const cluster = MasterCluster.make(t)
  const [first, second, third] = [await cluster.master(), await cluster.master(), await cluster.master()]
  first.start([])
  await cluster.leader([first])
  cluster.agent([first, second, third])
  await eventually(async () => ((await first.json<{ connected: boolean }[]>(['node', 'ls']))[0]?.connected ? true : undefined))
  const started = await first.hearth(['task', 'run', '-d', '--name', 'old', 'host', '--', 'sleep', '600'])
  t.equal(started.code, 0, started.stderr)
  const before = await eventually(async () => {
    const task = await first.json<Task>(['task', 'show', 'old'])
    return task.state === 'running' ? task : undefined
  })
  await first.end('SIGTERM')
  first.start()
  await cluster.leader([first])
  second.wait(first)
  third.wait(first)
  const added = await eventually(async () => {
    const ran = await first.hearth(['raft', 'add', second.address, third.address])
    return ran.code === 0 ? ran : undefined
  })
  t.match(added.stdout, /member 2 .* is a voter\nmember 3 .* is a voter\n/)
  const keys = cluster.masters.map(({ stateDir }) => readFileSync(join(stateDir, 'cluster-key'), 'utf8'))
  t.equal(new Set(keys).size, 1, 'whoever comes to lead can sign certificates')
  // A follower relays, and the leader has heard of the task from its agent again.
  await eventually(async () => ((await second.json<Task>(['task', 'show', 'old'])).state === 'running' ? true : undefined))
  await second.hearth(['task', 'run', '-d', '--name', 'over', 'host', '--', 'sh', '-c', 'sleep 2; exit 7'])

  const leader = await cluster.leader()
  const killed = cluster.masters[leader - 1]
  const survivors = cluster.masters.filter((master) => master !== killed)
  await killed?.end('SIGKILL')
  await eventually(async () => ((await survivors[0]?.status())?.leader === leader ? undefined : true))
  const [survivor] = survivors
  if (survivor === undefined) throw new Error('nobody survived')
  const fresh = await survivor.hearth(['task', 'run', '--name', 'new', 'host', '--', 'sh', '-c', 'exit 5'])
  t.equal(fresh.code, 5, fresh.stderr)
  const old = await survivor.json<Task>(['task', 'show', 'old'])
  t.match(old, { state: 'running', containerId: before.containerId, attempt: 1 }, 'it was never started again')
  await survivor.hearth(['task', 'wait', 'over'])
  const over = await survivor.json<Task>(['task', 'show', 'over'])
  t.match(over, { state: 'failed', exitCode: 7, attempt: 1 }, 'what ended meanwhile ended once')
  t.match(await survivor.hearth(['raft', 'status']), { code: 0, stdout: /2 of 3 answer.*does not answer/s })
  killed?.start()
  await eventually(async () => {
    const { members = [] } = (await survivor.status()) ?? {}
    return members.length === 3 && members.every((member) => member.own !== null) ? true : undefined
  })
})

t.test(
  'a lost master is replaced; a backup is restored; the last one of a lost majority goes on alone, and the old ones are fenced',
  async (t) => {
    const cluster = MasterCluster.make(t)
    const first = await cluster.master()
    first.start()
    await cluster.leader([first])
    const others = [await cluster.master(), await cluster.master()]
    for (const master of others) master.wait(first)
    await eventually(async () => {
      const ran = await first.hearth(['raft', 'add', ...others.map((master) => master.address)])
      return ran.code === 0 ? ran : undefined
    })
    t.equal((await first.hearth(['task', 'run', '-d', '--name', 'kept', 'host', '--', 'true'])).code, 0)
    const file = join(cluster.root, 'backup')
    t.match(await first.hearth(['raft', 'backup', file]), { code: 0, stdout: /is sound: .* 0 nodes/ })

    const lost = others[1]
    await lost?.end('SIGKILL')
    const fourth = await cluster.master()
    fourth.wait(first)
    const replaced = await eventually(async () => {
      const ran = await first.hearth(['raft', 'replace', '3', fourth.address])
      return ran.code === 0 ? ran : undefined
    })
    t.match(replaced.stdout, /member 4 .* stands where member 3 stood/)
    const { members = [] } = (await first.status()) ?? {}
    t.same(
      members.map(({ raftId, role }) => [raftId, role]),
      [1, 2, 4].map((raftId) => [raftId, 'voter'])
    )

    for (const master of [first, others[0]]) await master?.end('SIGKILL')
    t.match(await fourth.hearth(['raft', 'recover', '--others-are-lost']), { code: 73, stderr: /belongs to another master/ })
    await eventually(async () => ((await fourth.hearth(['raft', 'status'])).code === 69 ? true : undefined))
    await fourth.end('SIGTERM')
    t.match(await fourth.hearth(['raft', 'recover']), { code: 73, stderr: /repeat there with --others-are-lost/ })
    t.match(await fourth.hearth(['raft', 'recover', '--others-are-lost']), { code: 0, stdout: /in the place of/ })
    fourth.start()
    t.equal(await cluster.leader([fourth]), 5)
    t.match(await fourth.json(['task', 'show', 'kept']), { name: 'kept' })
    first.start()
    await eventually(async () => ((await first.hearth(['raft', 'status'])).code === 69 ? true : undefined))
    t.equal((await fourth.status())?.members.length, 1, 'the old one is listened to no more')

    const restored = await cluster.master()
    t.match(await restored.hearth(['raft', 'restore', file]), { code: 0, stdout: /restored entries up to/ })
    restored.start([])
    await cluster.leader([restored])
    t.match(await restored.json(['task', 'show', 'kept']), { name: 'kept' })
    t.match(await restored.hearth(['raft', 'restore', file]), { code: 73, stderr: /has the state of a master already/ })
  }
)

t.test(
  'one of five is handed the lead by name, can be removed while it leads, and three are left that survive another',
  async (t) => {
    const cluster = MasterCluster.make(t)
    const first = await cluster.master()
    first.start()
    await cluster.leader([first])
    const others: MasterDaemon[] = []
    for (let id = 2; id <= 5; id += 1) others.push(await cluster.master())
    for (const master of others) master.wait(first)
    await eventually(async () => {
      const ran = await first.hearth(['raft', 'add', ...others.map((master) => master.address)])
      return ran.code === 0 ? ran : undefined
    })
    const roles = async (): Promise<unknown> => (await first.status())?.members.map(({ raftId, role }) => [raftId, role])
    t.same(
      await roles(),
      [1, 2, 3, 4, 5].map((raftId) => [raftId, 'voter'])
    )
    await eventually(async () => {
      const ran = await first.hearth(['raft', 'transfer', '4'])
      return ran.code === 0 && (await first.status())?.leader === 4 ? true : undefined
    })
    t.match(await first.hearth(['raft', 'transfer', '9']), { code: 66, stderr: /there is no member 9/ })
    for (const id of ['4', '5']) {
      await eventually(async () => ([0, 66].includes((await first.hearth(['raft', 'remove', id])).code ?? 1) ? true : undefined))
    }
    t.same(
      await roles(),
      [1, 2, 3].map((raftId) => [raftId, 'voter'])
    )
    await others[0]?.end('SIGKILL')
    const kept = await eventually(async () => {
      const ran = await first.hearth(['task', 'run', '-d', '--name', 'kept', 'host', '--', 'true'])
      return ran.code === 0 ? ran : undefined
    })
    t.equal(kept.code, 0)
    t.match(await others[1]?.json(['task', 'show', 'kept']), { name: 'kept' })
    t.match(await first.hearth(['raft', 'remove', '3']), { code: 73, stderr: /no majority/ })
  }
)

t.test('masters of several hosts speak over TLS: they join by tokens, and whoever leads signs certificates', async (t) => {
  const cluster = MasterCluster.make(t)
  const first = await cluster.master('tls')
  const door = `127.0.0.1:${await freePort()}`
  const open = ['--listen', door, '--advertise', '127.0.0.1']
  first.start(['--peer-listen', first.address, ...open])
  await cluster.leader([first])
  const others = [await cluster.master('tls'), await cluster.master('tls')]
  for (const master of others) await joinBy(first, master, door)
  const added = await eventually(async () => {
    const ran = await first.hearth(['raft', 'add', ...others.map((master) => master.address)])
    return ran.code === 0 ? ran : undefined
  })
  t.match(added.stdout, /member 2 .* is a voter\nmember 3 .* is a voter\n/)
  t.match(await first.hearth(['raft', 'add', 'tcp:127.0.0.1:1']), { code: 64, stderr: /not at tcp:127\.0\.0\.1:1/ })
  const [second] = others
  t.match(await second?.json(['cluster', 'show']), { nodes: [{ role: 'master' }, { role: 'master' }, { role: 'master' }] })

  const leader = await cluster.leader()
  const killed = cluster.masters[leader - 1]
  const [left, removed] = cluster.masters.filter((master) => master !== killed)
  const id = (await removed?.status())?.askedRaftId ?? 0
  const nodeId = (await removed?.status())?.members.find((one) => one.raftId === id)?.nodeId ?? ''
  t.match(await left?.hearth(['node', 'remove', nodeId]), { code: 73, stderr: /hearth raft remove/ })
  const fourth = await cluster.master('tls')
  await joinBy(first, fourth, door)
  const replaced = await eventually(async () => {
    const ran = await left?.hearth(['raft', 'replace', String(id), fourth.address])
    return ran?.code === 0 ? ran : undefined
  })
  t.match(replaced.stdout, /stands where/)
  const { nodes } = (await left?.json<{ nodes: { nodeId: string }[] }>(['cluster', 'show'])) ?? { nodes: [] }
  t.equal(nodes.length, 3)
  t.notOk(
    nodes.some((node) => node.nodeId === nodeId),
    'its certificate is void'
  )
  await eventually(async () => ((await removed?.hearth(['node', 'ls']))?.code === 0 ? undefined : true))

  await killed?.end('SIGKILL')
  const survivors = [left, fourth]
  await eventually(async () => ((await survivors[0]?.status())?.leader === leader ? undefined : true))
  const fresh = await survivors[0]?.hearth(['cluster', 'ca', 'rotate'])
  t.equal(fresh?.code, 0, fresh?.stderr ?? '')
})

async function joinBy(member: MasterDaemon, newcomer: MasterDaemon, door: string): Promise<void> {
  const made = await eventually(async () => {
    const ran = await member.hearth(['cluster', 'token', 'create', '--role', 'master', '--json'])
    return ran.code === 0 ? (JSON.parse(ran.stdout) as { readonly token: string }) : undefined
  })
  const tokenFile = join(newcomer.stateDir, 'token-to-join')
  writeFileSync(tokenFile, made.token)
  newcomer.wait(member, ['--join', door, '--join-token-file', tokenFile])
}
