import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import type { Bench } from '../bench.ts'
import { eventually } from '../eventually.ts'
import { killed } from '../programs.ts'
import type { System } from './store-client.ts'

/** Three durable servers on loopback, each a process. */
export interface Ensemble {
  readonly system: System
  readonly members: readonly Member[]
  /** Of who leads now; undefined while nobody does. */
  leader(): Promise<Member | undefined>
}

export interface Member {
  readonly port: number
  readonly pid: number
  start(): void
  /** SIGKILL; resolves when it has ended. */
  kill(): Promise<void>
}

/** One server: what it is started with, each time. */
export class Server implements Member {
  readonly port: number
  readonly #name: string
  readonly #bench: Bench
  readonly #spawn: () => ChildProcess
  #child: ChildProcess | undefined

  constructor(bench: Bench, name: string, port: number, spawnIt: () => ChildProcess) {
    this.port = port
    this.#bench = bench
    this.#name = name
    this.#spawn = spawnIt
  }

  get pid(): number {
    return this.#child?.pid ?? 0
  }

  start(): void {
    const child = this.#spawn()
    this.#child = child
    this.#bench.cleanup.add(this.#name, () => killed(child))
  }

  async kill(): Promise<void> {
    if (this.#child !== undefined) await killed(this.#child)
  }
}

/** Output goes to a file of its own in the bench's folder. */
export function daemon(bench: Bench, name: string, words: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcess {
  const [program = '', ...args] = words
  const output = openSync(join(bench.folder('raft-output'), `${name}.out`), 'a')
  const environment = { ...process.env, ...env }
  const child = spawn(program, args, {
    cwd: bench.directory,
    detached: true,
    stdio: ['ignore', output, output],
    env: environment
  })
  child.on('error', () => undefined) // it then never leads, which is told
  closeSync(output)
  return child
}

export async function leaderOf(ensemble: Ensemble, withinMs = 30_000): Promise<Member> {
  let leader: Member | undefined
  await eventually(
    `a leader of ${ensemble.system}`,
    async () => {
      leader = await ensemble.leader()
      return leader !== undefined
    },
    withinMs
  )
  return leader as Member
}

/** Ports that nobody has now. */
export async function freePorts(count: number): Promise<readonly number[]> {
  const servers = Array.from({ length: count }, () => createServer())
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve) => {
          server.listen(0, '127.0.0.1', () => resolve((server.address() as { readonly port: number }).port))
        })
    )
  )
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}
