import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readProcess } from '../../isolators/runtime/oci/process-table.ts'
import type { Task } from '../../sdk/operator-messages.ts'
import { bootDirsOf } from '../campaign/invariants/places.ts'
import { noContainers as skip } from '../support/bundle.ts'
import { eventually } from '../support/cluster.ts'
import { MasterCluster } from '../support/masters.ts'

/** What stands in a file of that agent's leases; empty where it is not there. */
function leaseFile(stateDir: string, name: string): string {
  const paths = [...bootDirsOf(stateDir), join(stateDir, 'run')].map((folder) => join(folder, 'leases', name))
  const path = paths.find((one) => existsSync(one))
  return path === undefined ? '' : readFileSync(path, 'utf8')
}

/** In boot time: when the monitor of the container began, which is before the container did. */
function beganMs(stateDir: string, containerId: string): number {
  const pid = Number(readFileSync(join(stateDir, 'run/c', containerId, 'conmon.pid'), 'utf8'))
  return (readProcess(pid)?.startTicks ?? Number.NaN) * 10
}

t.test(
  'a task with a lease is ended where nobody renews it, and begins elsewhere after that, also under another leader',
  {
    skip
  },
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
    const agents = [cluster.agent(cluster.masters), cluster.agent(cluster.masters)]
    await eventually(async () => {
      const nodes = await first.json<{ readonly connected: boolean }[]>(['node', 'ls'])
      return nodes.length === 2 && nodes.every((node) => node.connected) ? true : undefined
    })
    const words = ['task', 'run', '-d', '--name', 'one', '--lease', '4s', '--restart', 'always', 'host', '--', 'sleep', '600']
    await eventually(async () => ((await first.hearth(words)).code === 0 ? true : undefined))
    const before = await eventually(async () => {
      const task = await first.json<Task>(['task', 'show', 'one'])
      return task.state === 'running' ? task : undefined
    })
    t.match(before, { attempt: 1, lease: { lengthMs: 4_000, state: 'held' } })
    const holder = agents.find((stateDir) => leaseFile(stateDir, before.containerId ?? '') !== '') ?? ''
    const other = agents.find((stateDir) => stateDir !== holder) ?? ''

    const leader = await cluster.leader()
    const killed = cluster.masters[leader - 1]
    cluster.signalAgent(holder, 'SIGSTOP')
    await killed?.end('SIGKILL')
    const survivor = cluster.masters.find((master) => master !== killed)
    const after = await eventually(async () => {
      const task = await survivor?.json<Task>(['task', 'show', 'one']).catch(() => undefined)
      return task?.state === 'running' && task.containerId !== before.containerId ? task : undefined
    })
    t.match(after, { attempt: 2, lease: { state: 'held' } })
    const [, emptyMs = Number.NaN] = leaseFile(holder, `${before.containerId}.fired`).split(/\s/).map(Number)
    const begunMs = beganMs(other, after.containerId ?? '')
    t.ok(emptyMs > 0 && emptyMs <= begunMs, `nothing was left of the first at ${emptyMs}, the second began at ${begunMs}`)

    cluster.signalAgent(holder, 'SIGCONT')
    await eventually(() => (leaseFile(holder, before.containerId ?? '') === '' ? true : undefined))
    t.match(await survivor?.json<Task>(['task', 'show', 'one']), { state: 'running', containerId: after.containerId })
    t.match(await survivor?.hearth(['task', 'show', 'one']), { code: 0, stdout: /Lease: +4s, held/ })
  }
)
