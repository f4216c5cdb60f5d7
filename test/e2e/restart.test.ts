import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readProcess } from '../../isolators/runtime/oci/process-table.ts'
import { readJson, sendRequest } from '../../sdk/http.ts'
import { OperatorClient } from '../../sdk/operator-client.ts'
import type { Task } from '../../sdk/operator-messages.ts'
import { type Cluster, eventually, startCluster } from '../support/cluster.ts'

const agentProgram = join(import.meta.dirname, '../../dist/agent.cjs')

interface AtNode {
  readonly taskId: string
  readonly attempt: number
  readonly state: string
}

/** What the node itself says of its tasks, master or none. */
async function atNode({ stateDir }: Cluster): Promise<readonly AtNode[]> {
  const agent = { kind: 'socket', path: join(stateDir, 'run/agent.sock') } as const
  try {
    const answer = await readJson(await sendRequest(agent, { method: 'GET', path: '/v1/tasks' }, AbortSignal.timeout(5_000)))
    return (answer as { readonly tasks: readonly AtNode[] }).tasks
  } catch {
    return [] // it does not serve yet
  }
}

/** The task as `hearth task show` tells it, once it `holds`: asked for without a program of its own, which may take longer than a back-off. */
const shown = (cluster: Cluster, name: string, holds: (task: Task) => boolean): Promise<Task> => {
  const master = new OperatorClient({ kind: 'socket', path: join(cluster.stateDir, 'run/master.sock') })
  return eventually(async () => {
    const task = await master.tasks.show(name, AbortSignal.timeout(30_000)).catch(() => undefined)
    return task !== undefined && holds(task) ? task : undefined
  })
}

const endsOf = ({ attempts }: Task) => attempts.filter((a) => a.endedAtMs !== null)
const ended = async (pid: number): Promise<void> => {
  await eventually(() => (readProcess(pid) === undefined ? true : undefined))
}

t.test('a task is restarted as it was asked for, whatever becomes of agent and master', async (t) => {
  const cluster = await startCluster(t)
  const run = async (...args: string[]): Promise<void> => {
    const ran = await cluster.hearth(['task', 'run', '-d', ...args])
    t.equal(ran.code, 0, ran.stderr)
  }

  t.test('an agent that is killed between two attempts makes the next one, and counts on', async (t) => {
    await run('--name', 'failing', '--restart', 'on-failure:2', '--restart-delay', '1s', 'host', '--', 'sh', '-c', 'exit 3')
    for (const attempt of [1, 2]) {
      const waiting = await shown(cluster, 'failing', (task) => endsOf(task).length === attempt && task.state === 'starting')
      t.match(waiting, { attempt, message: `attempt ${attempt} ended with exit code 3; it starts again` })
      await cluster.replace('agent')
    }
    const over = await shown(cluster, 'failing', (task) => task.state === 'failed')
    t.match(over, { attempt: 3, exitCode: 3, restart: 'on-failure' })
    t.same(
      over.attempts.map((a) => [a.attempt, a.state, a.reason, a.exitCode]),
      [1, 2, 3].map((attempt) => [attempt, 'failed', 'exited', 3])
    )
    t.equal(new Set(over.attempts.map((a) => a.containerId)).size, 3)
    const { stdout } = await cluster.hearth(['task', 'show', 'failing'])
    t.match(
      stdout,
      /^Attempt: +3\n[\s\S]*^Restart: +on-failure\n[\s\S]*^ATTEMPT +STATE +REASON +EXIT[\s\S]*^ +1 +failed +exited +3 /m
    )
  })

  t.test('without a master the agent starts what its ledger says, and the master hears of it later', async (t) => {
    const program = ['sh', '-c', 'touch /up; exec sleep 1000']
    const check = ['--start-cmd', 'test -f /up', '--start-retries', '1000', '--health-interval', '50ms']
    await run('--name', 'always', '--restart', 'always', '--restart-delay', '10ms', ...check, 'host', '--', ...program)
    await run('--name', 'never', 'host', '--', ...program)
    const tasks = [await shown(cluster, 'always', (task) => task.ready === true), await shown(cluster, 'never', () => true)]
    const pids = tasks.map(({ containerId }) =>
      Number(readFileSync(join(cluster.stateDir, 'run/c', containerId ?? '', 'pid'), 'utf8'))
    )
    for (const name of ['supervisor', 'agent', 'master'] as const) {
      const pid = cluster.pid(name) ?? 0
      process.kill(pid, 'SIGKILL')
      await ended(pid)
    }
    for (const pid of pids) process.kill(pid, 'SIGKILL')

    const words = ['--state-dir', cluster.stateDir, '--health-dns', 'no']
    const agent = spawn(process.execPath, [agentProgram, ...words], { stdio: 'ignore' })
    await eventually(async () => {
      const known = await atNode(cluster)
      const second = known.find(({ taskId, attempt }) => taskId === tasks[0]?.taskId && attempt === 2)
      return second?.state === 'running' ? true : undefined
    })
    agent.kill('SIGTERM')
    await once(agent, 'exit')
    const up = await cluster.hearth(['up', '--http', 'off'])
    t.equal(up.code, 0, up.stderr)
    const always = await shown(cluster, 'always', (task) => task.attempt === 2 && task.ready === true)
    t.match(always, { state: 'running', restart: 'always', attempts: [{ reason: 'signaled', signal: 9 }, { state: 'running' }] })
    const never = await shown(cluster, 'never', (task) => task.state === 'failed')
    t.match(never, { attempt: 1, reason: 'signaled', attempts: { length: 1 } })
  })
})
