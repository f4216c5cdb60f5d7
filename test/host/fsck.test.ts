import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type FsckKind, fsckKinds } from '../../agent/fsck/compare.ts'
import { Fsck } from '../../agent/fsck/fsck.ts'
import { startExec } from '../../agent/host/exec.ts'
import { adopt } from '../../agent/reattach.ts'
import { systemClock } from '../../base/clock.ts'
import { silentLog } from '../../base/log.ts'
import { cgroupDirectories } from '../../isolators/cgroup2/layout.ts'
import { AgentHost, aborted, type RunningAgent } from '../support/agent-host.ts'
import { eventually } from '../support/cluster.ts'
import { kernelKinds, plantKernelObjects, plantLayers, plantUnmarked } from '../support/planted-objects.ts'

function fsckOf(host: AgentHost, agent: RunningAgent, isWhole = true): Fsck {
  const { ledger, runtime, tasks } = agent
  const { layout, cgroupParent, runDir, sandboxesDir } = host
  const places = {
    layout,
    cgroupParent,
    runDir,
    stateDir: host.directory,
    sandboxesDir,
    agentId: ledger.view.head.agentId,
    dockerProgram: []
  }
  const recovering = { runDir, bootId: 'boot-1', isWhole }
  return new Fsck(
    {
      ledger,
      clock: systemClock,
      exec: startExec,
      log: silentLog,
      collectLayers: () => removeLayers(host),
      adopt: (id) => adopt({ ledger, runtime, tasks, log: silentLog }, recovering, id)
    },
    { places, everyMs: 3_600_000, isWhole }
  )
}

/** As the image store does it that has no image. */
async function removeLayers({ directory }: AgentHost): Promise<void> {
  for (const folder of ['layers', 'views']) rmSync(join(directory, 'agent/images', folder), { recursive: true, force: true })
}

const newId = (): string => randomBytes(16).toString('hex')

/** One orphan of every kind that Hearth makes. */
async function plant(
  t: Test,
  host: AgentHost,
  agentId: string,
  count: number
): Promise<Readonly<Record<string, readonly string[]>>> {
  const directory = (path: string): string => {
    mkdirSync(path, { recursive: true })
    return path
  }
  const many = <T>(make: (id: string) => T): T[] => Array.from({ length: count }, () => make(newId()))
  const cgroups = many((id) => cgroupDirectories(host.layout, join(host.cgroupParent, id)).map(directory)).flat()
  t.teardown(() => {
    for (const path of cgroups) if (existsSync(path)) rmdirSync(path)
  })
  const file = (path: string, text: string): string => {
    writeFileSync(path, text)
    return path
  }
  const monitors: ChildProcess[] = many((id) => {
    // A shell that waits for input that never comes keeps the words of its script.
    const words = ['-u', id, '--conmon-pidfile', 'x', '--exit-dir', join(host.runDir, 'exits')]
    return spawn('sh', ['-c', 'read x', 'conmon', ...words], { stdio: ['pipe', 'ignore', 'ignore'] })
  })
  t.teardown(() => monitors.map((child) => child.kill('SIGKILL')))
  await Promise.all(monitors.map((child) => eventually(() => (commandOf(child).includes('--exit-dir') ? true : undefined))))
  return {
    cgroup: cgroups,
    bundle: many((id) => directory(join(host.runDir, 'c', id))),
    runtime_state: many((id) => directory(join(host.runDir, 'oci/runc', id))),
    exit_file: many((id) => file(join(host.runDir, 'exits', id), '0')),
    lease: many((id) => file(join(directory(join(host.runDir, 'leases')), id), 'hearth-lease 1')),
    sandbox_dir: many((id) => file(join(directory(join(host.sandboxesDir, id)), 'log'), 'x')),
    overlay: many((id) => directory(join(host.sandboxesDir, id, 'upper'))),
    conmon: monitors.map((child) => `/proc/${child.pid}/exe`),
    ...plantKernelObjects(t, { agentId, runDir: host.runDir, stateDir: host.directory }, many(String)),
    layer: plantLayers(host.directory, count),
    shifted_view: many((id) => directory(join(host.directory, 'agent/images/views/v34mkg', id.slice(0, 12))))
  }
}

const commandOf = (child: ChildProcess): string => readFileSync(`/proc/${child.pid}/cmdline`, 'utf8')

t.test('orphans of every kind are found and removed, and no live object is touched', async (t) => {
  const host = new AgentHost(t)
  const agent = await host.start()
  const fsck = fsckOf(host, agent)
  const live = await agent.run(['sleep', '1000'])
  const ended = await agent.run(['true'])
  await aborted(ended.removed)
  const clean = await fsck.check()
  t.same(clean.findings, [], 'a running and an ended task are whole')
  t.same(clean.unseen, [])
  const rare = ['mount', 'docker_container', 'exit_file', 'lease', ...kernelKinds, 'layer', 'shifted_view', 'image', 'kept_log']
  t.ok(
    fsckKinds.every((kind) => rare.includes(kind) || clean.seen[kind] > 0),
    'and were looked at'
  )

  const planted = await plant(t, host, agent.ledger.view.head.agentId, 3)
  const { orphans } = await fsck.check()
  for (const kind of Object.keys(planted) as FsckKind[]) {
    const also = kind === 'sandbox_dir' ? 6 : 3 // a writable layer lies in a sandbox
    t.equal(orphans[kind], also, kind)
  }
  t.same(fsck.orphans(), orphans)

  await fsck.repair(false)
  const left = fsck.orphans()
  t.match(left, {
    cgroup: 0,
    bundle: 0,
    runtime_state: 0,
    conmon: 0,
    exit_file: 0,
    lease: 0,
    sandbox_dir: 6,
    overlay: 3,
    layer: 3,
    shifted_view: 3
  })
  t.ok(kernelKinds.every((kind) => left[kind] === 0))
  const { report, repairs } = await fsck.repair()
  t.same(report.findings, [])
  t.ok(repairs.every((r) => r.action === 'removed'))
  await eventually(() =>
    Object.values(planted)
      .flat()
      .some((path) => existsSync(path))
      ? undefined
      : true
  )

  t.match(await agent.runtime.inspect(live.containerId), { kind: 'running' })
  t.ok(existsSync(ended.logPath), 'what the ended task left is its own')
})

t.test('what bears no mark of this agent is told at most, and stays', async (t) => {
  const host = new AgentHost(t)
  const agent = await host.start()
  const fsck = fsckOf(host, agent)
  const { agentId } = agent.ledger.view.head
  const live = await agent.run(['sleep', '1000'])
  const at = { runDir: host.runDir, stateDir: host.directory }
  plantKernelObjects(t, { ...at, agentId }, [live.containerId])
  t.same(
    (await fsck.check()).findings.map((f) => f.kind),
    ['nft_table'],
    'a table is of the node; what names the container is its own'
  )
  const foreign = newId()
  const others = plantKernelObjects(t, { agentId: foreign, runDir: join(host.directory, 'elsewhere'), stateDir: '/tmp' }, [
    newId()
  ])
  const unmarked = plantUnmarked(t, host.directory)
  const { repairs } = await fsck.repair()
  const touched = (id: string): boolean => repairs.some((r) => r.finding.id === id && r.action !== 'left')
  t.notOk([...Object.values(others).flat(), ...unmarked].some(touched))
  t.same(
    new Set(repairs.filter((r) => r.action === 'left').map((r) => r.finding.kind)),
    new Set(['link', 'nft_table', 'loop_device'])
  )
  for (const path of [...others.link, ...unmarked].filter((p) => p.startsWith('/'))) t.ok(existsSync(path), path)
  t.match(await agent.runtime.inspect(live.containerId), { kind: 'running' })
  t.equal(fsck.orphans().link, 1, 'and counts as unowned')
})

t.test(
  'a container that runs without a row is adopted where its annotations prove that it is ours, else left alone',
  async (t) => {
    const host = new AgentHost(t)
    const agent = await host.start()
    const { containerId, taskId } = await agent.run(['sleep', '1000'])
    await agent.crash()
    rmSync(host.ledgerDir, { recursive: true })
    const config = readFileSync(join(host.runDir, 'c', containerId, 'config.json'))
    writeFileSync(join(host.runDir, 'c', containerId, 'config.json'), 'damaged')
    const state = readFileSync(join(host.runDir, 'oci/runc', containerId, 'state.json'))
    writeFileSync(join(host.runDir, 'oci/runc', containerId, 'state.json'), 'damaged')
    const next = await host.start()
    const fsck = fsckOf(host, next)
    t.ok(
      (await fsck.repair()).repairs.every((r) => r.action === 'left'),
      'nothing proves whose it is'
    )
    t.match(await next.runtime.inspect(containerId), { kind: 'running' })
    // Its annotations name the agent that is gone, so the ledger must be of that agent to adopt it.
    writeFileSync(join(host.runDir, 'c', containerId, 'config.json'), config)
    writeFileSync(join(host.runDir, 'oci/runc', containerId, 'state.json'), state)
    t.ok(
      (await fsck.repair()).repairs.every((r) => r.action === 'left'),
      'it is another agent’s'
    )
    const agentId =
      (JSON.parse(config.toString()) as { annotations: Record<string, string> }).annotations['org.hearth.agent'] ?? ''
    await next.ledger.append({ head: { ...next.ledger.view.head, agentId } }, 'disk')
    const { report, repairs } = await fsckOf(host, next).repair()
    t.ok(
      repairs.length > 0 && repairs.every((r) => r.action === 'adopted'),
      JSON.stringify(repairs.filter((r) => r.action !== 'adopted'))
    )
    t.same(report.findings, [])
    t.equal(next.runner(containerId).taskId, taskId)
    await next.runner(containerId).kill({ signal: 'SIGKILL', graceMs: 0 })
    await aborted(next.runner(containerId).removed)
    t.match(next.runner(containerId).latest(), { state: 'killed' }, 'it is a task like any other')
  }
)
