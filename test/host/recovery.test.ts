import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { systemClock } from '../../base/clock.ts'
import { pidsIn } from '../../isolators/cgroup2/population.ts'
import { readProcess } from '../../isolators/runtime/oci/process-table.ts'
import { AgentHost, aborted, type RunningAgent } from '../support/agent-host.ts'
import { eventually } from '../support/cluster.ts'

const actionsOf = (agent: RunningAgent, containerId: string): readonly unknown[] =>
  agent.events.filter((e) => e.event === 'task.recovered' && e['containerId'] === containerId).map((e) => e['action'])

const pidOf = (host: AgentHost, containerId: string, file: 'pid' | 'conmon.pid' = 'pid'): number =>
  Number(readFileSync(join(host.runDir, 'c', containerId, file), 'utf8'))

const gone = (pid: number): Promise<true> => eventually(() => (readProcess(pid) === undefined ? true : undefined))

t.test('a container goes on under the next agent, as the same process', async (t) => {
  const host = new AgentHost(t)
  const { containerId } = await (await host.start()).run(['sleep', '1000'])
  const pid = pidOf(host, containerId)
  const next = await host.start()
  t.same(actionsOf(next, containerId), ['reattach'])
  t.match(await next.runtime.inspect(containerId), { kind: 'running', container: { pid } })
  t.match(next.runner(containerId).latest(), { state: 'running' })
})

t.test('a container that is killed from outside ends as signaled, watched or not', async (t) => {
  const host = new AgentHost(t)
  const first = await host.start()
  const watched = await first.run(['sleep', '1000'])
  const unwatched = await first.run(['sleep', '1000'])
  process.kill(pidOf(host, watched.containerId), 'SIGKILL')
  await aborted(watched.ended)
  t.match(watched.latest(), { state: 'failed', reason: 'signaled', signal: 9 })

  const [pid, monitor] = [pidOf(host, unwatched.containerId), pidOf(host, unwatched.containerId, 'conmon.pid')]
  await first.crash()
  process.kill(pid, 'SIGKILL')
  await gone(monitor)
  const next = await host.start()
  t.same(actionsOf(next, unwatched.containerId), ['report-ended', 'clean-up'])
  await aborted(next.runner(unwatched.containerId).ended)
  t.match(next.runner(unwatched.containerId).latest(), { state: 'failed', reason: 'signaled', signal: 9 })
})

t.test(
  'a container whose monitor is killed goes on, is told, and ends with its exit unknown once its cgroup is empty',
  async (t) => {
    const host = new AgentHost(t)
    const first = await host.start()
    const runner = await first.run(['sleep', '1000'])
    const { containerId } = runner
    process.kill(pidOf(host, containerId, 'conmon.pid'), 'SIGKILL')
    await eventually(() => (/its monitor is gone/.test(runner.latest()?.message ?? '') ? true : undefined))
    t.match(runner.latest(), { state: 'running' })
    t.ok(pidsIn(host.layout, join(host.cgroupParent, containerId)).length > 0, 'it lives')

    const next = await host.start()
    t.same(actionsOf(next, containerId), ['reattach'], 'no replacement while it lives')
    process.kill(pidOf(host, containerId), 'SIGKILL')
    await aborted(next.runner(containerId).ended)
    t.match(next.runner(containerId).latest(), { state: 'failed', reason: 'exit_unknown' })
    t.same(pidsIn(host.layout, join(host.cgroupParent, containerId)), [])
  }
)

t.test('a pid file that names a stranger, or nothing, harms nobody', async (t) => {
  const host = new AgentHost(t)
  const first = await host.start()
  const pids = new Map<string, number>()
  for (const text of [String(process.pid), '', 'garbage', '1', '-1', '99999999999999999999']) {
    const { containerId } = await first.run(['sleep', '1000'])
    pids.set(containerId, pidOf(host, containerId))
    await first.runtime.inspect(containerId)
    writeFileSync(join(host.runDir, 'c', containerId, 'pid'), text)
  }
  const next = await host.start()
  for (const [containerId, pid] of pids) {
    t.same(actionsOf(next, containerId), ['reattach'])
    t.match(await next.runtime.inspect(containerId), { kind: 'running', container: { pid } }, 'found by its cgroup')
    await next.runner(containerId).kill({ signal: 'SIGKILL', graceMs: 0 })
    await aborted(next.runner(containerId).ended)
    t.match(next.runner(containerId).latest(), { state: 'killed' })
  }
})

t.test('after a reboot what ran is told as such, what had ended as it ended, and nothing starts twice', async (t) => {
  const host = new AgentHost(t)
  const first = await host.start({ bootId: 'boot-1' })
  const ran = await first.run(['sleep', '1000'])
  const monitor = pidOf(host, ran.containerId, 'conmon.pid')
  const pid = pidOf(host, ran.containerId)
  await first.crash()
  // A reboot takes the processes, and with them run/ where it is a tmpfs.
  process.kill(monitor, 'SIGKILL')
  process.kill(pid, 'SIGKILL')
  await gone(pid)
  rmSync(host.runDir, { recursive: true })
  const next = await host.start({ bootId: 'boot-2' })
  t.same(actionsOf(next, ran.containerId), ['report-lost', 'clean-up'])
  await aborted(next.runner(ran.containerId).removed)
  t.match(next.runner(ran.containerId).latest(), { state: 'failed', reason: 'node_rebooted' })
  t.same(readdirSync(join(host.runDir, 'c')), [])
})

t.test('an agent whose ledger is gone while containers run takes them over under the same name', async (t) => {
  const host = new AgentHost(t)
  const first = await host.start()
  await first.ledger.append({ head: { ...first.ledger.view.head, clusterId: 'the-cluster' } }, 'disk')
  const labels = [{ key: 'colour', value: 'green' }]
  const lives = await first.run(['sleep', '1000'], { labels })
  const ended = await first.run(['sh', '-c', 'read x; exit 3'], { process: { arguments: ['sleep', '1000'] } })
  const endedMonitor = pidOf(host, ended.containerId, 'conmon.pid')
  const wanted = first.ledger.view.tasks.get(lives.containerId)?.row
  const lastNumber = first.ledger.view.nextStatusNumber
  const { head } = first.ledger.view
  await first.crash()
  process.kill(pidOf(host, ended.containerId), 'SIGTERM')
  process.kill(pidOf(host, ended.containerId), 'SIGKILL')
  await gone(endedMonitor)
  rmSync(host.ledgerDir, { recursive: true })

  const next = await host.start()
  t.match(next.ledger.view.head, { agentId: head.agentId, clusterId: 'the-cluster' })
  t.same(actionsOf(next, lives.containerId), ['rebuild', 'reattach'])
  t.same(next.ledger.view.tasks.get(lives.containerId)?.row, wanted, 'the row is what it was')
  t.same(actionsOf(next, ended.containerId), ['rebuild', 'report-ended', 'clean-up'])
  await aborted(next.runner(ended.containerId).ended)
  const told = next.runner(ended.containerId).latest()
  t.match(told, { state: 'failed', signal: 9 })
  t.ok((told?.number ?? 0) > lastNumber, 'no status number is used again')

  const third = await host.start()
  t.same(actionsOf(third, lives.containerId), ['reattach'], 'from then on it is a row like any other')
})

t.test(
  'a bundle that is damaged too leaves the copy that the runtime keeps, and without one the container is left alone',
  async (t) => {
    const host = new AgentHost(t)
    const first = await host.start()
    const copied = await first.run(['sleep', '1000'])
    const lost = await first.run(['sleep', '1000'])
    const configOf = (id: string): string => join(host.runDir, 'c', id, 'config.json')
    const stateOf = (id: string): string => join(host.runDir, 'oci/runc', id, 'state.json')
    const [config, state] = [readFileSync(configOf(lost.containerId)), readFileSync(stateOf(lost.containerId))]
    await first.crash()
    rmSync(host.ledgerDir, { recursive: true })
    writeFileSync(configOf(copied.containerId), '{"ociVersion": ')
    writeFileSync(
      configOf(lost.containerId),
      Buffer.from(config.toString().replace(/"org.hearth.row":"..../, '"org.hearth.row":"AAAA'))
    )
    writeFileSync(stateOf(lost.containerId), 'x')
    const next = await host.start()
    t.same(actionsOf(next, copied.containerId), ['rebuild', 'reattach'])
    t.same(actionsOf(next, lost.containerId), ['unowned'])
    t.match(await next.runtime.inspect(lost.containerId), { kind: 'running' }, 'it is told and goes on')
    writeFileSync(configOf(lost.containerId), config)
    writeFileSync(stateOf(lost.containerId), state)
    t.same(actionsOf(await host.start(), lost.containerId), ['rebuild', 'reattach'])
  }
)

t.test('a bundle of a forgotten task is removed at the start, by name; one of another agent is left alone', async (t) => {
  const host = new AgentHost(t)
  const first = await host.start()
  const runner = await first.run(['sleep', '1000'])
  const { containerId } = runner
  const bundle = join(host.runDir, 'c', containerId)
  const config = readFileSync(join(bundle, 'config.json'), 'utf8')
  await runner.kill({ signal: 'SIGKILL', graceMs: 0 })
  await aborted(runner.removed)
  await first.tasks.forget({ epoch: 1, frameworkId: 'f', taskId: runner.taskId })
  const foreign = 'f'.repeat(32)
  for (const id of [containerId, foreign]) {
    mkdirSync(join(host.runDir, 'c', id))
    writeFileSync(join(host.runDir, 'c', id, 'config.json'), config)
  }
  const next = await host.start()
  t.match(
    next.events.filter((e) => e.event === 'orphan.removed'),
    [{ containerId }]
  )
  t.same(readdirSync(join(host.runDir, 'c')), [foreign])
  t.same(actionsOf(next, foreign), ['unowned'], 'its annotations name another container')
  rmSync(join(host.runDir, 'c', foreign), { recursive: true })
})

for (const years of [2, -2]) {
  t.test(`a wall clock that is ${years} years off does not matter to what runs, is killed and is counted`, async (t) => {
    const host = new AgentHost(t)
    const { containerId } = await (await host.start()).run(['sh', '-c', 'trap "" TERM; while true; do sleep 0.05; done'])
    const slept: number[] = []
    const clock = {
      ...systemClock,
      wallMs: () => Date.now() + years * 365 * 86_400_000,
      sleep: (ms: number, signal: AbortSignal) => {
        slept.push(ms)
        return systemClock.sleep(ms, signal)
      }
    }
    const next = await host.start({ clock })
    t.same(actionsOf(next, containerId), ['reattach'])
    const before = next.ledger.view.nextStatusNumber
    await next.runner(containerId).kill({ signal: 'SIGTERM', graceMs: 20 })
    await aborted(next.runner(containerId).ended)
    t.match(next.runner(containerId).latest(), { state: 'killed', signal: 9 }, 'the grace is as long as it was said')
    t.ok(slept.includes(20))
    t.equal(next.ledger.view.nextStatusNumber, before + 2, 'killing, killed: numbers go on')
  })
}
