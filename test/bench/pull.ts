import { execFileSync, spawn } from 'node:child_process'
import { readdirSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { readJson, sendRequest } from '../../sdk/http.ts'
import { readStream } from '../../sdk/stream.ts'
import type { AgentUnderTest } from './agent-under-test.ts'
import type { Bench, Outcome } from './bench.ts'
import { eventually } from './eventually.ts'
import { isThere } from './machine.ts'
import { startDocker } from './peers/docker-daemon.ts'
import { end, run } from './programs.ts'
import { type Pushed, pushMany, pushSystem } from './pull-images.ts'
import { judged, type Row, withRatios } from './report.ts'
import { spreadOf } from './statistics.ts'

interface Puller {
  readonly name: string
  readonly note?: string
  pull(reference: string): Promise<void>
  remove(reference: string): Promise<void>
}

const many = 50
const pullMs = 300_000

/** One image of about 300 MB from a local docker-registry, by hearth, docker and podman in turn; then many images that share layers. */
export async function pull(bench: Bench): Promise<Outcome> {
  const directory = bench.folder('registry')
  const host = await startRegistry(bench, directory, [])
  bench.progress('making and pushing an image of 300 MB')
  const image = await pushSystem(bench.folder('system'), host)
  const agent = await bench.startBareAgent('k')
  const pullers: Puller[] = [hearth(agent, host)]
  const notes: string[] = []
  if (bench.has('dockerd') && bench.has('containerd')) pullers.push(await docker(bench, directory))
  else notes.push('dockerd or containerd is not installed: docker is left out')
  if (isThere('podman')) pullers.push(podman(bench.folder('podman'), host))
  else notes.push('podman is not installed: it is left out')
  const samples = new Map<string, number[]>(pullers.map(({ name }) => [name, []]))
  for (let round = 1; round <= bench.n; round += 1) {
    for (const puller of pullers) {
      bench.signal.throwIfAborted()
      bench.progress(`${puller.name}, round ${round} of ${bench.n}`)
      execFileSync('sync')
      const sinceMs = performance.now()
      await puller.pull(image.repository)
      samples.get(puller.name)?.push(performance.now() - sinceMs)
      await puller.remove(image.repository)
    }
  }
  const rows = pullers.map(
    ({ name, note }): Row => ({ name, ...spreadOf(samples.get(name) ?? []), ...(note === undefined ? {} : { note }) })
  )
  return {
    rows: withRatios(rows, rows[0]),
    goals: [...goalsOf(rows), ...(await shared(bench, agent, host))],
    notes: [...notes, ...factsOf(image)]
  }
}

const factsOf = ({ packedBytes, plainBytes, layers }: Pushed): readonly string[] => [
  `the image: ${layers} layers of this host’s /usr, ${Math.round(plainBytes / 1e6)} MB plain, ${Math.round(packedBytes / 1e6)} MB packed by gzip -6.`,
  'each pull begins without the image and ends when it may be run; hearth alone syncs its disk before it says so.',
  'docker’s registry is a second process over the same files, in docker’s own network namespace.'
]

const goalsOf = ([own, ...others]: readonly Row[]) =>
  others.map((peer) =>
    judged(
      { name: `time of a pull, against ${peer.name}`, unit: 'x', bound: 'at most', goal: 1 },
      (own?.p50Ms ?? Number.NaN) / (peer.p50Ms ?? Number.NaN)
    )
  )

/** Many images over the same layers: how often each layer lies on the disk. */
async function shared(bench: Bench, agent: AgentUnderTest, host: string) {
  bench.progress(`pulling ${many} images that share layers`)
  const images = await pushMany(bench.folder('many'), host, many)
  const one = hearth(agent, host)
  for (const repository of images.repositories) await one.pull(repository)
  const found = readdirSync(join(agent.stateDir, 'agent/images/layers')).filter((name) => !name.includes('.')).length
  return [
    judged(
      {
        name: `layers on the disk for ${many} images with ${images.distinct} distinct ones`,
        unit: 'layers',
        bound: 'at most',
        goal: images.distinct
      },
      found
    )
  ]
}

function hearth(agent: AgentUnderTest, host: string): Puller {
  const endpoint = { kind: 'socket', path: join(agent.stateDir, 'run/agent.sock') } as const
  const signal = (): AbortSignal => AbortSignal.timeout(pullMs)
  return {
    name: 'hearth image pull (local API)',
    async pull(repository) {
      const path = `/v1/images/pull?reference=${encodeURIComponent(`${host}/${repository}:1`)}`
      for await (const _ of readStream(await sendRequest(endpoint, { method: 'POST', path }, signal())));
    },
    async remove(repository) {
      const path = `/v1/images/${encodeURIComponent(`${host}/${repository}:1`)}`
      await readJson(await sendRequest(endpoint, { method: 'DELETE', path }, signal()))
    }
  }
}

const dockersPort = 5000

async function docker(bench: Bench, directory: string): Promise<Puller> {
  const { socketPath, pid } = await startDocker(bench.folder('docker'), bench.cleanup)
  const inside = ['nsenter', `--net=/proc/${pid}/ns/net`]
  await startRegistry(bench, directory, inside, dockersPort)
  const { default: Client } = await import('dockerode')
  const client = new Client({ socketPath })
  const nameOf = (repository: string): string => `127.0.0.1:${dockersPort}/${repository}:1`
  return {
    name: 'docker pull (API)',
    async pull(repository) {
      const answer = await client.pull(nameOf(repository))
      await new Promise<void>((resolve, reject) => {
        client.modem.followProgress(answer, (e) => (e === null ? resolve() : reject(e)))
      })
    },
    async remove(repository) {
      await client.getImage(nameOf(repository)).remove({ force: true })
    }
  }
}

function podman(directory: string, host: string): Puller {
  const places = ['--root', join(directory, 'root'), '--runroot', join(directory, 'run'), '--storage-driver', 'overlay']
  return {
    name: 'podman pull',
    note: 'the command’s whole time',
    pull: (repository) => run('podman', [...places, 'pull', '--quiet', '--tls-verify=false', `${host}/${repository}:1`]),
    remove: (repository) => run('podman', [...places, 'rmi', '--force', `${host}/${repository}:1`])
  }
}

/** Debian's docker-registry over the files in `directory`, maybe within a network namespace. Returns where it listens. */
async function startRegistry(bench: Bench, directory: string, within: readonly string[], fixedPort?: number): Promise<string> {
  const port = fixedPort ?? (await freePort())
  const path = join(directory, `${port}.yml`)
  const lines = [
    'version: 0.1',
    'log: {level: error, accesslog: {disabled: true}}',
    `storage: {filesystem: {rootdirectory: ${join(directory, 'data')}}}`,
    `http: {addr: "127.0.0.1:${port}", secret: x}`
  ]
  writeFileSync(path, `${lines.join('\n')}\n`)
  const [program = '', ...args] = [...within, 'docker-registry', 'serve', path]
  const child = spawn(program, args, { stdio: 'ignore' })
  child.on('error', () => undefined) // it then never listens, which is told
  bench.cleanup.add('a registry', () => end(child))
  if (within.length === 0) {
    let listens = false
    await eventually('the registry to listen', () => {
      const socket = connect(port, '127.0.0.1', () => {
        listens = true
        socket.destroy()
      })
      socket.on('error', () => undefined)
      return listens
    })
  } else
    await run('sh', [
      '-c',
      `for i in $(seq 200); do ${within.join(' ')} sh -c 'exec 3<>/dev/tcp/127.0.0.1/${port}' 2>/dev/null && exit; sleep 0.05; done; exit 1`.replace(
        "sh -c 'exec",
        "bash -c 'exec"
      )
    ])
  return `127.0.0.1:${port}`
}

/** Free a moment ago. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0))
    })
  })
}
