import { existsSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { newContainerId } from '../../proto/ids.ts'
import { scalar } from '../../proto/resources.ts'
import { frameworkId } from '../campaign/master.ts'
import { World } from '../campaign/world.ts'
import { noContainers as skip } from '../support/bundle.ts'
import { runProgram } from '../support/cluster.ts'
import { until } from '../support/until.ts'

const root = join(import.meta.dirname, '../..')
// They wait for a lease to be renewed, and to run out.
t.jobs = 4

interface Leased {
  readonly world: World
  readonly containerId: string
  /** A file of the directory of leases; empty where it is not there. */
  file(name: string): string
  /** In the container's cgroup. */
  processes(): readonly string[]
}

/** A real agent process that runs one task under a lease of 3 s, which nobody renews a second time unless `renewed` says so. */
async function leasedTask(t: Test, renewed = false): Promise<Leased> {
  const directory = mkdtempSync(join(tmpdir(), 'hl-'))
  const world = await World.open({ directory, program: join(root, 'dist/agent.cjs'), mayEnd: renewed })
  t.teardown(() => world.close())
  let grants = 0
  world.master.grant = ({ lengthMs }) => {
    grants += 1
    return grants > 2 && !renewed ? undefined : { granted: true, lengthMs }
  }
  const { signal } = new AbortController()
  await world.startAndRegister(signal)
  const containerId = newContainerId()
  world.master.launch(containerId, {
    frameworkId,
    role: '*',
    tasks: [
      {
        taskId: 'leased',
        image: 'host',
        process: { arguments: ['sleep', '600'] },
        network: { mode: 'none' },
        resources: [scalar('cpus', 100), scalar('mem', 32 * 1024 * 1024)],
        restart: { mode: 'always', backoffMs: 20 },
        lease: { lengthMs: 3_000 }
      }
    ]
  })
  await world.master.until(() => world.master.has(containerId, 'running') && grants > 2, signal)
  const leases = [...world.places.bootDirs, join(world.places.stateDir, 'run')].map((path) => join(path, 'leases'))
  return {
    world,
    containerId,
    file: (name) => {
      const path = leases.map((folder) => join(folder, name)).find((p) => existsSync(p))
      return path === undefined ? '' : readFileSync(path, 'utf8')
    },
    processes: () =>
      world
        .observe([containerId])
        .processes.filter((p) => p.kind === 'program')
        .map((p) => p.command)
  }
}

const watchdogs = (world: World): number => world.observe([]).processes.filter((p) => p.kind === 'watchdog').length
/** Both in boot time: when nothing was left of the container, and when the promise ended. */
function timesOf({ file, containerId }: Leased): { readonly emptyMs: number; readonly endMs: number } {
  const [, , , , sentMs, lengthMs] = file(containerId).split(/\s/)
  return { emptyMs: Number(file(`${containerId}.fired`).split(' ')[1]), endMs: Number(sentMs) + Number(lengthMs) }
}

t.test('an agent that is killed before the deadline need not be there for the end', { skip }, async (t) => {
  const leased = await leasedTask(t)
  const { world, containerId, file, processes } = leased
  await world.end('SIGKILL')
  t.equal(processes().length, 1, 'the agent is dead, its task is not')
  t.equal(watchdogs(world), 1, 'and somebody watches')
  await until(() => /^\d+ \d+$/m.test(file(`${containerId}.fired`)))
  t.same(processes(), [])
  const { emptyMs, endMs } = timesOf(leased)
  t.ok(emptyMs <= endMs, `empty at ${emptyMs}, promised until ${endMs}`)

  const asked = new AbortController().signal
  await world.startAndRegister(asked)
  await world.master.until(() => world.master.has(containerId, 'failed'), asked)
  const end = world.master.statuses.map((s) => s.status).find((s) => s.state === 'failed')
  t.match(end, { reason: 'lease_expired', attempt: 1, willRestart: false, causes: [{ kind: 'lease', certainty: 'proved' }] })
  await until(() => watchdogs(world) === 0)
  await world.end('SIGTERM')
  const { leases, tracingInstances, bootDirectories } = world.observe([containerId])
  t.same({ leases, tracingInstances, bootDirectories }, { leases: [], tracingInstances: [], bootDirectories: [] })
  t.same(world.problems, [])
})

t.test('an agent that is stopped in its tracks is not waited for', { skip }, async (t) => {
  const leased = await leasedTask(t)
  const { world, containerId, file, processes } = leased
  const pid = world.agentPid ?? 0
  process.kill(pid, 'SIGSTOP')
  await until(() => /^\d+ \d+$/m.test(file(`${containerId}.fired`)))
  t.same(processes(), [])
  const { emptyMs, endMs } = timesOf(leased)
  t.ok(emptyMs <= endMs, `empty at ${emptyMs}, promised until ${endMs}`)
  // Now it may have as many leases as it likes: the one that ran out stays over.
  world.master.grant = ({ lengthMs }) => ({ granted: true, lengthMs })
  process.kill(pid, 'SIGCONT')
  await world.master.until(() => world.master.has(containerId, 'failed'), new AbortController().signal)
  const end = world.master.statuses.map((s) => s.status).find((s) => s.state === 'failed')
  t.match(end, { reason: 'lease_expired', willRestart: false })
  await until(() => watchdogs(world) === 0)
  t.same(readdirSync(join(world.places.stateDir, 'run/c')), [], 'nothing was started again')
  await world.end('SIGTERM')
})

for (const [command, isKilled] of [
  [['node', 'stop', '--workloads'], false],
  [['down'], true]
] as const) {
  t.test(`hearth ${command.join(' ')} leaves nothing of a lease${isKilled ? ', its agent dead' : ''}`, { skip }, async (t) => {
    const { world, containerId, processes } = await leasedTask(t, true)
    if (isKilled) await world.end('SIGKILL')
    t.equal(watchdogs(world), 1)
    const { stateDir, cgroupParent } = world.places
    const env = { HEARTH_STATE_DIR: stateDir, HEARTH_CGROUP_PARENT: cgroupParent, HEARTH_HEALTH_DNS: 'no' }
    const ran = await runProgram(process.execPath, [join(root, 'dist/hearth.cjs'), ...command], { env })
    t.equal(ran.code, 0, ran.stderr)
    t.same(processes(), [])
    t.equal(watchdogs(world), 0, 'the watchdog has ended when the command answers')
    const { leases, cgroups, bootDirectories } = world.observe([containerId])
    t.same({ leases, cgroups, bootDirectories }, { leases: [], cgroups: [], bootDirectories: [] })
  })
}
