import { pathToFileURL } from 'node:url'
import { importOf } from '../../load.ts'

/**
 * What Hearth asks of Docker's API (Engine API 1.41). Names may be a container's name or its id. Every call rejects with
 * `Fault('unavailable')` whose `detail.reason` is `docker_down` where nobody answers.
 */
export interface Engine {
  info(): Promise<EngineInfo>
  /** Throws `Fault('conflict')` for a name that is taken, `not-found` for an image that is not there. */
  create(name: string, body: Readonly<Record<string, unknown>>): Promise<void>
  /** Throws `Fault('invalid')` with the runtime's words where the container could not be started. */
  start(name: string): Promise<void>
  /** Undefined where there is none. Waits while Docker starts or removes it. */
  inspect(name: string): Promise<EngineContainer | undefined>
  /** One that is not there is no error. Throws `Fault('conflict')` for one that runs, unless `force`. */
  remove(name: string, force: boolean): Promise<void>
  /** All containers with this label. */
  list(label: string): Promise<readonly EngineContainer[]>
  /** What the container wrote since then, oldest first; with `follow` until it ends. */
  logs(name: string, since: string, follow: boolean, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>>
  /** Calls `seen` with the name of every container with the label that ends. Resolves when connected; `over` when it is lost. */
  ends(label: string, seen: (name: string) => void, signal: AbortSignal): Promise<{ readonly over: Promise<void> }>
  image(reference: string): Promise<EngineImage | undefined>
  pull(reference: string, signal: AbortSignal): Promise<void>
  /** A program inside. Its output, and what it reads, goes over the stream; terminals are one stream without heads. */
  exec(name: string, body: Readonly<Record<string, unknown>>): Promise<EngineExec>
  attach(name: string, signal: AbortSignal): Promise<NodeJS.ReadWriteStream>
  resize(name: string, rows: number, columns: number): Promise<void>
}

export interface EngineInfo {
  readonly version: string
  readonly cgroupDriver: string
}

export interface EngineContainer {
  readonly id: string
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly state: 'created' | 'running' | 'ended'
  /** It was let begin at least once. */
  readonly hasRun: boolean
  readonly pid: number
  readonly exitCode: number
  readonly outOfMemory: boolean
  readonly terminal: boolean
}

export interface EngineImage {
  readonly id: string
  /** Absolute directories, uppermost first; empty where Docker keeps layers in another way. */
  readonly layers: readonly string[]
  readonly entrypoint: readonly string[]
  readonly command: readonly string[]
  readonly environment: readonly string[]
  readonly workingDirectory: string
  readonly user: string
  readonly stopSignal: string
}

export interface EngineExec {
  readonly stream: NodeJS.ReadWriteStream
  resize(rows: number, columns: number): Promise<void>
  inspect(): Promise<{ readonly pid: number; readonly running: boolean; readonly exitCode: number | undefined }>
}

/** Loads dockerode, which is kept out of the agent's own file: it costs memory, and most nodes never need it. */
export async function loadEngine(file: string, socketPath: string): Promise<Engine> {
  const loaded = (await importOf(pathToFileURL(file).href)) as Readonly<Record<string, unknown>>
  const { openEngine } = { ...(loaded['default'] as object | undefined), ...loaded } as { openEngine(path: string): Engine }
  return openEngine(socketPath)
}
