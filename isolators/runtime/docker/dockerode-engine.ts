import { once } from 'node:events'
import type { Duplex, Readable } from 'node:stream'
import Docker from 'dockerode'
import { errnoOf, Fault, type FaultCode } from '../../../base/fault.ts'
import type { Engine, EngineContainer, EngineExec, EngineImage } from './engine.ts'

/** Docker's API over dockerode; a bundle of its own, loaded when a task asks for Docker. */
export function openEngine(socketPath: string): Engine {
  const docker = new Docker({ socketPath, version: 'v1.41' })
  const say = <T>(call: Promise<T>): Promise<T> => call.catch((e: unknown) => Promise.reject(faultOf(e, socketPath)))
  const orNothing = <T>(call: Promise<T>): Promise<T | undefined> =>
    say(call).catch((e: unknown) => (e instanceof Fault && e.code === 'not-found' ? undefined : Promise.reject(e as Error)))
  return {
    async info() {
      const found = (await say(docker.info())) as { readonly ServerVersion: string; readonly CgroupDriver: string }
      return { version: found.ServerVersion, cgroupDriver: found.CgroupDriver }
    },
    create: async (name, body) => void (await say(docker.createContainer({ ...body, name }))),
    start: async (name) => void (await say(docker.getContainer(name).start())),
    async inspect(name) {
      const found = await orNothing(docker.getContainer(name).inspect())
      return found === undefined ? undefined : containerOf(found)
    },
    remove: async (name, force) => void (await orNothing(docker.getContainer(name).remove({ force, v: true }))),
    async list(label) {
      const rows = await say(docker.listContainers({ all: true, filters: { label: [label] } }))
      return rows.map((row) => ({
        ...{ id: row.Id, name: row.Names[0]?.slice(1) ?? '', labels: row.Labels },
        state: row.State === 'created' ? 'created' : row.State === 'running' ? 'running' : 'ended',
        ...{ hasRun: row.State !== 'created', pid: 0, exitCode: 0, outOfMemory: false, terminal: false }
      }))
    },
    async logs(name, since, follow, signal) {
      const query = { stdout: '1', stderr: '1', timestamps: '1', since, follow: follow ? '1' : '0' }
      const statusCodes = { 200: true, 404: 'no such container', 409: 'being removed', 500: 'server error' }
      // dockerode itself would hand out what is not followed as one piece of any size.
      const asked = { method: 'GET', path: `/containers/${name}/logs?`, options: query, isStream: true, statusCodes }
      return bytesOf(await say(dial(docker, { ...asked, abortSignal: signal })), signal)
    },
    async ends(label, seen, signal) {
      const filters = JSON.stringify({ type: ['container'], event: ['die'], label: [label] })
      const stream = (await say(docker.getEvents({ filters, abortSignal: signal } as object))) as Readable
      return { over: readEvents(stream, seen) }
    },
    async image(reference) {
      const found = await orNothing(docker.getImage(reference).inspect())
      return found === undefined ? undefined : imageOf(found)
    },
    async pull(reference, signal) {
      const stream = await say(docker.pull(reference, { abortSignal: signal }))
      await new Promise<void>((resolve, reject) => {
        docker.modem.followProgress(stream, (e: Error | null) => (e === null ? resolve() : reject(faultOf(e, socketPath))))
      })
    },
    exec: (name, body) => say(startExec(docker, name, body)),
    attach: (name, signal) =>
      say(
        docker
          .getContainer(name)
          .attach({ stream: true, stdin: true, stdout: true, stderr: true, hijack: true, abortSignal: signal })
      ),
    resize: async (name, rows, columns) => void (await say(docker.getContainer(name).resize({ h: rows, w: columns })))
  }
}

const dial = (docker: Docker, options: object): Promise<NodeJS.ReadableStream> =>
  new Promise((resolve, reject) => {
    const modem = docker.modem as { dial(options: object, done: (e: Error | null, answer: NodeJS.ReadableStream) => void): void }
    modem.dial(options, (e, answer) => (e === null ? resolve(answer) : reject(e)))
  })

async function startExec(docker: Docker, name: string, body: Readonly<Record<string, unknown>>): Promise<EngineExec> {
  const exec = await docker.getContainer(name).exec(body)
  const stream: Duplex = await exec.start({ hijack: true, stdin: body['AttachStdin'] === true, Tty: body['Tty'] === true })
  return {
    stream,
    resize: async (rows, columns) => void (await exec.resize({ h: rows, w: columns })),
    async inspect() {
      const { Pid: pid, Running: running, ExitCode: code } = await exec.inspect()
      return { pid: pid ?? 0, running, exitCode: code ?? undefined }
    }
  }
}

const never = '0001-01-01T00:00:00Z'

function containerOf(found: Docker.ContainerInspectInfo): EngineContainer {
  const { State: state, Config: config } = found
  return {
    id: found.Id,
    name: found.Name.slice(1),
    labels: config.Labels,
    state: state.Running || state.Paused || state.Restarting ? 'running' : state.StartedAt === never ? 'created' : 'ended',
    hasRun: state.StartedAt !== never,
    pid: state.Pid,
    exitCode: state.ExitCode,
    outOfMemory: state.OOMKilled,
    terminal: config.Tty
  }
}

type ImageConfig = Partial<Readonly<Record<'Entrypoint' | 'Cmd', string | readonly string[] | null>>> & {
  readonly Env?: readonly string[] | null
  readonly WorkingDir?: string
  readonly User?: string
  readonly StopSignal?: string
}

function imageOf(found: Docker.ImageInspectInfo): EngineImage {
  const config = found.Config as unknown as ImageConfig
  const { UpperDir: upper = '', LowerDir: lower = '' } = (found.GraphDriver.Data ?? {}) as unknown as Record<string, string>
  return {
    id: found.Id,
    layers: found.GraphDriver.Name === 'overlay2' ? [upper, ...lower.split(':')].filter((path) => path !== '') : [],
    entrypoint: words(config.Entrypoint),
    command: words(config.Cmd),
    environment: config.Env ?? [],
    workingDirectory: config.WorkingDir ?? '',
    user: config.User ?? '',
    stopSignal: config.StopSignal ?? ''
  }
}

const words = (value: string | readonly string[] | null | undefined): readonly string[] =>
  value === null || value === undefined ? [] : typeof value === 'string' ? [value] : value

async function* bytesOf(stream: NodeJS.ReadableStream, signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    for await (const chunk of stream) yield chunk as Buffer
  } catch (e) {
    // Docker that goes away is for who asks next; whoever gave up knows.
    if (!signal.aborted && errnoOf(e) === undefined) throw e
  } finally {
    ;(stream as Readable).destroy()
  }
}

async function readEvents(stream: Readable, seen: (name: string) => void): Promise<void> {
  let text = ''
  stream.setEncoding('utf8')
  stream.on('data', (part: string) => {
    text += part
    const lines = text.split('\n')
    text = lines.pop() ?? ''
    for (const line of lines.filter((one) => one.trim() !== '')) {
      const event = JSON.parse(line) as { readonly Actor?: { readonly Attributes?: { readonly name?: string } } }
      seen(event.Actor?.Attributes?.name ?? '')
    }
  })
  await once(stream, 'close').catch(() => undefined) // lost: who listens connects again
}

const codes: Readonly<Record<number, FaultCode>> = { 400: 'invalid', 404: 'not-found', 409: 'conflict' }

interface Refusal {
  readonly statusCode?: number
  readonly json?: { readonly message?: string }
  readonly message?: string
}

function faultOf(e: unknown, socketPath: string): unknown {
  if (e instanceof Fault) return e
  const { statusCode, json, message = '' } = e as Refusal
  if (statusCode !== undefined) {
    return new Fault(codes[statusCode] ?? 'unavailable', `Docker says: ${json?.message ?? message}`, { status: statusCode }, e)
  }
  if (e instanceof Error && e.name === 'AbortError') return e
  const why = errnoOf(e) ?? message
  return new Fault(
    'unavailable',
    `Docker does not answer at ${socketPath} (${why}): start it, or leave out --runtime docker`,
    {
      reason: 'docker_down'
    },
    e
  )
}
