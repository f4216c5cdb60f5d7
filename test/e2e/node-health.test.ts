import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { type Cluster, eventually, startCluster } from '../support/cluster.ts'

interface Health {
  readonly verdict: string
  readonly checks: readonly {
    readonly kind: string
    readonly subject: string
    readonly verdict: string
    readonly reason: string
  }[]
}

const daemons = ['master', 'agent', 'supervisor'] as const
/** Whole looks at the node in one window, and wakes of the agent's main thread, which beats once a second. */
const looks = 3
const wakes = 60

/**
 * What was written below the state directory, and by which daemon how many bytes went to a disk (proc(5), /proc/PID/task/TID/io), while
 * tasks ran and the agent looked at its node a few times. A window in which the node itself changed, as a loaded host does, tells nothing.
 */
async function writesWhileNothingHappens(cluster: Cluster, look: () => Promise<unknown>): Promise<readonly string[]> {
  const changes = (): number => cluster.log('agent').split('"node.check_changed"').length
  for (;;) {
    const [changed, files, bytes, from] = [changes(), filesBelow(cluster.stateDir), writtenBytes(cluster), wakesOf(cluster)]
    for (let n = 1; n <= looks; n += 1) await look()
    await eventually(() => (wakesOf(cluster) - from >= wakes ? true : undefined))
    const [filesAfter, bytesAfter] = [filesBelow(cluster.stateDir), writtenBytes(cluster)]
    if (changes() !== changed) continue
    return [
      ...[...filesAfter].filter(([path, facts]) => files.get(path) !== facts).map(([path]) => path),
      ...[...files.keys()].filter((path) => !filesAfter.has(path)),
      ...daemons.flatMap((name, i) => (bytesAfter[i] === bytes[i] ? [] : [`${name}: ${bytes[i]} to ${bytesAfter[i]} bytes`]))
    ]
  }
}

const proc = (pid: number | undefined, file: string, row: RegExp): number =>
  Number(row.exec(readFileSync(`/proc/${pid}/${file}`, 'utf8'))?.[1])

/** Of the threads that live, for the process's own sum takes in what its children wrote that have ended. */
const writtenBytes = (cluster: Cluster): readonly number[] =>
  daemons.map((name) =>
    readdirSync(`/proc/${cluster.pid(name)}/task`)
      .map((thread) => proc(cluster.pid(name), `task/${thread}/io`, /^write_bytes: (\d+)$/m))
      .reduce((sum, bytes) => sum + bytes, 0)
  )

const wakesOf = (cluster: Cluster): number => proc(cluster.pid('agent'), 'status', /^voluntary_ctxt_switches:\s+(\d+)$/m)

/** Size and time of each file. */
function filesBelow(directory: string): ReadonlyMap<string, string> {
  const entries = readdirSync(directory, { withFileTypes: true, recursive: true })
  return new Map(
    entries.flatMap((entry) => {
      const path = join(entry.parentPath, entry.name)
      const facts = statSync(path, { throwIfNoEntry: false })
      return facts === undefined ? [] : [[path, `${facts.size} ${facts.mtimeMs}`]]
    })
  )
}

const exitCodes: Readonly<Record<string, number>> = { OK: 0, WARNING: 1, FAILURE: 2, UNKNOWN: 3 }

t.test('a check of the operator keeps new tasks away, the running one stays, and the node recovers by itself', async (t) => {
  const checks = t.testdir()
  chmodSync(checks, 0o755)
  process.env['HEARTH_CHECKS_DIR'] = checks
  process.env['HEARTH_HEALTH_SECONDS'] = '1'
  const cluster = await startCluster(t)
  const health = async (): Promise<Health & { readonly code: number }> => {
    const ran = await cluster.hearth(['node', 'health', '--json'])
    if (ran.stdout === '') throw new Error(ran.stderr)
    return { ...(JSON.parse(ran.stdout) as Health), code: ran.code }
  }
  const write = (line: string, code: number): void => {
    writeFileSync(join(checks, 'raid'), `#!/bin/sh\nprintf '${line}\\n'\nexit ${code}\n`)
    chmodSync(join(checks, 'raid'), 0o755)
  }
  write('whole', 0)
  const first = await health()
  t.equal(first.code, exitCodes[first.verdict], 'the exit code is that of the worst verdict')
  t.match(
    first.checks.find((c) => c.kind === 'own'),
    { subject: 'raid', verdict: 'OK', reason: 'whole' }
  )
  t.match(
    first.checks.find((c) => c.kind === 'runtimes' && c.subject === 'runc'),
    { reason: /^version \d/ }
  )
  t.same(
    first.checks.filter((c) => c.verdict === 'FAILURE'),
    [],
    'nothing is wrong with this very host'
  )

  const runs = await cluster.hearth(['task', 'run', '-d', '--name', 'stays', 'host', '--', 'sleep', '1000'])
  t.equal(runs.code, 0, runs.stderr)
  write('an array is \\033[31mdegraded', 2)
  await health()
  const failed = await health()
  t.equal(failed.code, 2)
  t.match(failed.checks[0], { kind: 'own', verdict: 'FAILURE', reason: 'an array is degraded' })
  const listed = await eventually(async () => {
    const [node] = await cluster.json<readonly { health: { refusesLaunches: boolean; problems: object[] } | null }[]>([
      'node',
      'list'
    ])
    return node?.health?.refusesLaunches === true ? node : undefined
  })
  t.match(listed.health?.problems[0], { kind: 'own', subject: 'raid', verdict: 'FAILURE' })
  t.match((await cluster.hearth(['node', 'list'])).stdout, /takes no new tasks +FAILURE/)
  t.match(await cluster.json(['task', 'show', 'stays']), { state: 'running' })
  t.equal((await cluster.hearth(['task', 'run', '-d', '--name', 'waits', 'host', '--', 'sleep', '1000'])).code, 0)
  t.match(await cluster.json(['task', 'show', 'waits']), { state: 'staging' })

  write('whole again', 0)
  await health()
  await eventually(async () =>
    (await cluster.json<{ state: string }>(['task', 'show', 'waits'])).state === 'running' ? true : undefined
  )
  const top = await cluster.json<{ tasks: { name: string; pids: number; state: string }[] }>(['node', 'top'])
  t.match(
    top.tasks.map(({ name, state }) => ({ name, state })).sort((a, b) => (a.name < b.name ? -1 : 1)),
    [
      { name: 'stays', state: 'running' },
      { name: 'waits', state: 'running' }
    ]
  )
  const byMaster = await cluster.hearth([
    'node',
    'top',
    (await cluster.json<{ hostname: string }[]>(['node', 'list']))[0]?.hostname ?? ''
  ])
  t.match(byMaster.stdout, /^node: CPU .*\n\nTASK .*\n(.*sleep|.*stays|.*waits)/)
  const metrics = await cluster.hearth(['node', 'metrics'])
  t.match(metrics.stdout, /hearth_node_check\{kind="own",subject="raid"\} 0\n/)
  t.match(metrics.stdout, /hearth_task_pids\{framework="hearth-tasks",task="[^"]+",container="[0-9a-f]{32}"\} 1\n/)

  t.same(await writesWhileNothingHappens(cluster, health), [])

  const agent = await eventually(() => cluster.pid('agent'))
  process.kill(await eventually(() => cluster.pid('supervisor')), 'SIGSTOP')
  process.kill(agent, 'SIGKILL')
  const without = await eventually(async () => {
    const now = await health()
    return now.checks[0]?.kind === 'agent' ? now : undefined
  })
  t.match(without, { code: 2, verdict: 'FAILURE' })
  t.match(
    without.checks.find((c) => c.kind === 'own'),
    { reason: 'whole again' },
    'the same checks without the agent'
  )
  const offline = await cluster.json<{ tasks: { taskId: string; state: string; pids: number }[] }>(['node', 'top'])
  t.match(
    offline.tasks.map((task) => task.state),
    ['running', 'running']
  )
  t.equal((await cluster.hearth(['node', 'metrics'])).code, 69, 'only an agent counts')
  process.kill(await eventually(() => cluster.pid('supervisor')), 'SIGCONT')
  await eventually(() => (cluster.pid('agent') === agent ? undefined : cluster.pid('agent')))
})
