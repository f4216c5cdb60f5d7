import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Init } from '../../proto/codec.ts'
import type { TaskDefinition } from '../../proto/gen/messages.ts'
import { newContainerId } from '../../proto/ids.ts'
import { scalar } from '../../proto/resources.ts'
import { statusProblems } from '../campaign/invariants/status-order.ts'
import { frameworkId } from '../campaign/master.ts'
import { World } from '../campaign/world.ts'
import { noContainers as skip } from '../support/bundle.ts'

const program = join(import.meta.dirname, '../../dist/agent.cjs')
const yearMs = 365 * 86_400_000

/** faketime's library, by the directory of the architecture where Debian puts it. */
function fakeTimeLibrary(): string {
  const found = readdirSync('/usr/lib')
    .map((name) => `/usr/lib/${name}/faketime/libfaketime.so.1`)
    .find((path) => existsSync(path))
  if (found === undefined) throw new Error('libfaketime is not there: apt-get install faketime')
  return found
}

/** What faketime shares among the threads and children of a process, by its pid; it removes them when the process ends by itself. */
const sharedClocks = (): readonly string[] =>
  readdirSync('/dev/shm')
    .filter((name) => name.includes('faketime_'))
    .map((name) => join('/dev/shm', name))

const task = (taskId: string, script: string, more: Init<TaskDefinition> = {}): Init<TaskDefinition> => ({
  taskId,
  image: 'host',
  process: { arguments: ['sh', '-c', script] },
  network: { mode: 'none' },
  resources: [scalar('cpus', 100), scalar('mem', 32 * 1024 * 1024)],
  ...more
})
const deaf = 'trap "" TERM; while :; do sleep 0.05; done'

t.test('the wall clock steps by two years, forward and back, under an agent with tasks', { skip }, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'hs-'))
  const clockFile = join(directory, 'clock')
  const step = (years: number): void => writeFileSync(clockFile, `${years < 0 ? '' : '+'}${years * 365}d\n`)
  step(0)
  const env = {
    LD_PRELOAD: fakeTimeLibrary(),
    FAKETIME_TIMESTAMP_FILE: clockFile,
    FAKETIME_NO_CACHE: '1',
    FAKETIME_DONT_FAKE_MONOTONIC: '1', // a step moves the wall clock alone
    NO_FAKE_STAT: '1'
  }
  const before = sharedClocks()
  const world = await World.open({ directory, program, env })
  t.teardown(async () => {
    await world.close()
    // Those of agents that were killed.
    for (const path of sharedClocks()) if (!before.includes(path)) rmSync(path)
  })
  const { signal } = new AbortController()
  let renewals = 0
  world.master.grant = ({ lengthMs }) => {
    renewals += 1
    return { granted: true, lengthMs }
  }
  const of = (taskId: string) => world.master.statuses.map((s) => s.status).filter((s) => s.taskId === taskId)
  const launch = (definition: Init<TaskDefinition>): string => {
    const containerId = newContainerId()
    world.master.launch(containerId, { frameworkId, role: '*', tasks: [definition] })
    return containerId
  }
  await world.startAndRegister(signal)
  const lasting = launch(
    task('lasting', 'exec sleep 1000', {
      lease: { lengthMs: 9_000 },
      probes: [{ purpose: 'liveness', command: { arguments: ['true'] }, intervalMs: 50, failures: 1 }]
    })
  )
  launch(task('returning', 'sleep 0.2; exit 1', { restart: { mode: 'always', backoffMs: 50, maxBackoffMs: 50 } }))
  await world.master.until(() => of('lasting').some((s) => s.ready === true) && of('returning').length > 1, signal)

  for (const years of [2, -2]) {
    const stubborn = launch(task(`stubborn ${years}`, deaf))
    await world.master.until(() => world.master.has(stubborn, 'running'), signal)
    const [attempts, renewed] = [of('returning').at(-1)?.attempt ?? 0, renewals]
    step(years)
    world.master.kill(stubborn, { signal: 'SIGTERM', graceMs: 300 })
    await world.master.until(() => world.master.has(stubborn, 'killed') && renewals > renewed, signal)
    t.match(of(`stubborn ${years}`).at(-1), { state: 'killed', signal: 9 }, 'a grace is as long as it was')
    await world.master.until(() => (of('returning').at(-1)?.attempt ?? 0) > attempts + 1, signal)
    t.pass('a back-off too')
    const atMs = of('returning').at(-1)?.atMs ?? 0
    t.ok(Math.abs(atMs - Date.now() - years * yearMs) < yearMs / 2, `the agent's clock shows ${new Date(atMs).toISOString()}`)
    await world.end('SIGKILL')
    await world.startAndRegister(signal)
    const again = renewals
    await world.master.until(() => renewals > again, signal)
    t.same(
      of('lasting').filter((s) => s.state !== 'running'),
      [],
      'its lease and its probe are kept, under the next agent too'
    )
  }
  t.equal(world.observe([lasting]).processes.filter((p) => p.kind === 'program' && /sleep 1000/.test(p.command)).length, 1)
  t.same(statusProblems(world.master.statuses), [])
  t.same(world.problems, [])
})
