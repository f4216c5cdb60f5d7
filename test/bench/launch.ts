import { join } from 'node:path'
import type { Init } from '../../proto/codec.ts'
import type { TaskDefinition } from '../../proto/gen/messages.ts'
import type { AgentUnderTest } from './agent-under-test.ts'
import type { Bench, Outcome } from './bench.ts'
import { imageName, importImage } from './busybox-image.ts'
import { startCluster } from './cluster.ts'
import type { Contender } from './contender.ts'
import { BareRuntime } from './peers/bare.ts'
import { PeerBundles } from './peers/bundles.ts'
import { ConmonRunc } from './peers/conmon.ts'
import { DockerApi, dockerName } from './peers/docker.ts'
import { startDocker } from './peers/docker-daemon.ts'
import { EndToEnd } from './peers/end-to-end.ts'
import { judged, type Row, ratio, withRatios } from './report.ts'
import { spreadOf } from './statistics.ts'
import { renderTrace, type Span } from './trace.ts'

/** All that a task can ask for at once. */
const everyWallOf: Init<TaskDefinition> = {
  walls: {
    dropCapabilities: ['ALL'],
    addCapabilities: ['CAP_CHOWN'],
    readOnlyRoot: true,
    hiddenPaths: ['/etc/group'],
    readOnlyPaths: ['/root'],
    limits: [{ name: 'nofile', soft: 256, hard: 256 }],
    devices: [{ path: '/dev/null', target: '/dev/mine', access: 'r' }],
    tmpBytes: 1024 * 1024,
    shmBytes: 1024 * 1024,
    settings: [{ name: 'kernel.shmmni', value: '100' }]
  }
}

/** All that a task can be let off. */
const noWalls: Init<TaskDefinition> = { seccomp: 'unconfined', walls: { addCapabilities: ['ALL'], newPrivileges: true } }

const hearthOnDocker = 'hearth agent, docker'

interface Lane {
  readonly contender: Contender
  /** Runs in one of so many rounds. */
  readonly everyRounds: number
  readonly samples: number[]
}

/** Launches one container after another, contender by contender in turns, so that all see the same machine. */
export async function launch(bench: Bench): Promise<Outcome> {
  const agent = await bench.startAgent('a')
  const bundles = await PeerBundles.from(agent, bench.folder('p'), bench.cleanup)
  const lane = (contender: Contender, everyRounds: number): Lane => ({ contender, everyRounds, samples: [] })
  const hearth = lane(agent.contender('hearth agent, runc', 'runc'), 1)
  const peer = lane(new ConmonRunc(bundles, bench.programs), 1)
  const everyWall = lane(agent.contender('hearth agent, runc, every wall', 'runc', everyWallOf), 2)
  const noWall = lane(agent.contender('hearth agent, runc, walls taken down', 'runc', noWalls), 2)
  const hearthCrun = lane(agent.contender('hearth agent, crun', 'crun'), 2)
  // crun: the pipe by which a launch is measured is a mount, whose ids runc before 1.2 does not map.
  const ownIds = lane(agent.contender('hearth agent, crun, user namespace', 'crun', { walls: { userNamespace: true } }), 2)
  const lanes = [
    hearth,
    peer,
    ...(bench.has('crun') ? [hearthCrun, ownIds] : []),
    everyWall,
    noWall,
    lane(await endToEnd(bench), 4),
    lane(new BareRuntime('runc', bench.programs.runc, bundles), 4),
    ...(bench.has('crun') ? [lane(new BareRuntime('crun', bench.programs.crun, bundles), 4)] : [])
  ]
  await inTurns(bench, lanes, bench.n)
  const docker = await besideDocker(bench, agent)
  const rowOf = ({ contender, samples }: Lane): Row => ({
    name: contender.name,
    ...spreadOf(samples),
    ...(contender.note === undefined ? {} : { note: contender.note })
  })
  const reference = rowOf(peer)
  const dockerRow = (name: string): number => {
    const found = docker.find((d): d is Lane => 'contender' in d && d.contender.name === name)
    return (found === undefined ? undefined : rowOf(found).p50Ms) ?? Number.NaN
  }
  const crun = hearthCrun.samples.length === 0 ? undefined : rowOf(hearthCrun)
  return {
    rows: withRatios([...lanes.map(rowOf), ...docker.map((d) => ('contender' in d ? rowOf(d) : d))], reference),
    goals: [
      judged(
        { name: 'launch p50, hearth on runc / conmon+runc', unit: 'x', bound: 'at most', goal: 0.95 },
        ratio(rowOf(hearth).p50Ms, reference.p50Ms)
      ),
      judged(
        { name: 'launch p99, hearth on runc / conmon+runc', unit: 'x', bound: 'at most', goal: 1.5 },
        ratio(rowOf(hearth).p99Ms, reference.p99Ms)
      ),
      judged(
        { name: 'launch p50, hearth on crun / conmon+runc', unit: 'x', bound: 'at most', goal: 0.7 },
        ratio(crun?.p50Ms, reference.p50Ms),
        'crun is not installed'
      ),
      judged(
        { name: 'launch p50, every wall - walls taken down', unit: 'ms', bound: 'at most', goal: 10 },
        (rowOf(everyWall).p50Ms ?? Number.NaN) - (rowOf(noWall).p50Ms ?? Number.NaN)
      ),
      judged(
        { name: 'launch p50 on crun, user namespace - none, its view there', unit: 'ms', bound: 'at most', goal: 10 },
        crun === undefined ? undefined : (rowOf(ownIds).p50Ms ?? Number.NaN) - (crun.p50Ms ?? Number.NaN),
        'crun is not installed'
      ),
      judged(
        { name: 'launch p50, hearth on docker - docker API', unit: 'ms', bound: 'at most', goal: 10 },
        dockerRow(hearthOnDocker) - dockerRow(dockerName)
      )
    ],
    notes: [
      'hearth: from the arrival of the Launch frame at the agent to the first byte of the container’s first process.',
      'peers: from the fork of the first program; bundle written and root mounted beforehand; the same config.json.',
      ...(bench.trace ? ['', await traced(bench)] : [])
    ]
  }
}

async function endToEnd(bench: Bench): Promise<Contender> {
  const cluster = await startCluster(bench, 'c')
  await importImage(cluster.agentSocket, bench.rootfs)
  return new EndToEnd(cluster.masterSocket, bench.folder('f'))
}

/** Last, in turns with hearth: dockerd is then up for no other figure. Its absence is a row. */
async function besideDocker(bench: Bench, agent: AgentUnderTest): Promise<readonly (Lane | Row)[]> {
  if (!bench.has('dockerd') || !bench.has('containerd')) {
    return [{ name: dockerName, n: 0, note: 'not run: docker is not installed' }]
  }
  bench.progress('starting dockerd')
  const { socketPath } = await startDocker(bench.folder('d'), bench.cleanup)
  const docker = await DockerApi.connect(socketPath, bench.rootfs, agent.fifoDir)
  // It looks for Docker when it starts.
  const withDocker = await bench.startAgent('b', { dockerSocket: socketPath })
  const overDocker = withDocker.contender(hearthOnDocker, 'docker', { image: `${imageName}:latest` })
  const beside = agent.contender('hearth agent, runc, beside dockerd', 'runc')
  const lanes: readonly Lane[] = [docker, overDocker, beside].map((contender) => ({
    contender,
    everyRounds: 1,
    samples: []
  }))
  await inTurns(bench, lanes, Math.ceil(bench.n / 4))
  return lanes
}

/** Launches of a second agent, which is watched from inside its process: none of them counts. */
async function traced(bench: Bench): Promise<string> {
  const output = join(bench.directory, 'trace')
  const agent = await bench.startAgent('t', { hook: { module: join(import.meta.dirname, 'trace-hook.cjs'), output } })
  const spans: Span[] = []
  for (let i = 0; i < Math.min(bench.n, 50) + 1; i += 1) {
    bench.progress(`traced launch ${i}`)
    const container = agent.prepare('runc')
    await launchOnce({ name: 'traced', prepare: async () => container }, bench.signal)
    if (container.span !== undefined && i > 0) spans.push(container.span)
  }
  await agent.stop()
  return renderTrace(output, spans)
}

async function inTurns(bench: Bench, lanes: readonly Lane[], rounds: number): Promise<void> {
  for (const { contender } of lanes) await launchOnce(contender, bench.signal) // unmeasured: caches, first-time work
  for (let round = 0; round < rounds; round += 1) {
    bench.progress(`launch ${round + 1} of ${rounds}`)
    const turn = lanes.filter((l) => round % l.everyRounds === 0)
    for (const l of round % 2 === 0 ? turn : turn.reverse()) l.samples.push(await launchOnce(l.contender, bench.signal))
  }
}

async function launchOnce(contender: Contender, signal: AbortSignal): Promise<number> {
  signal.throwIfAborted()
  const container = await contender.prepare()
  try {
    return await container.start(signal)
  } finally {
    await container.remove()
  }
}
