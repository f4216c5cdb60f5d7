import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { Test } from 'tap'

const program = join(import.meta.dirname, '../../dist/hearth.cjs')

/** Tests speak with nobody outside this host. */
const loopbackOnly = { HEARTH_HEALTH_DNS: 'no', HEARTH_DOCKER_HUB: 'no' }

export interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly input?: string | Uint8Array
  readonly env?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal
}

interface SupervisorFile {
  readonly process: { readonly pid: number }
  readonly daemons: readonly { readonly name: string; readonly process?: { readonly pid: number } }[]
}

/** Runs a program to its end, whatever it answers. */
export function runProgram(file: string, args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const child = spawn(file, args, { env: { ...process.env, ...options.env }, signal: options.signal })
  return finish(child, options.input)
}

function finish(child: ChildProcess, input?: string | Uint8Array): Promise<Ran> {
  const out: Buffer[] = []
  const err: Buffer[] = []
  child.stdout?.on('data', (b: Buffer) => out.push(b))
  child.stderr?.on('data', (b: Buffer) => err.push(b))
  child.stdin?.on('error', () => undefined) // a program that reads nothing is no fault of the test
  child.stdin?.end(input)
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => {
      const text = (parts: Buffer[]): string => Buffer.concat(parts).toString()
      resolve({ code: code ?? (signal === null ? -1 : 128), stdout: text(out), stderr: text(err) })
    })
  })
}

/** A single-host cluster of the built programs in a state directory of its own. */
export class Cluster {
  readonly stateDir: string

  constructor(stateDir: string) {
    this.stateDir = stateDir
  }

  /** `hearth ARGS` against this cluster. */
  hearth(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
    return runProgram(process.execPath, ['--', program, ...args], {
      ...options,
      env: { HEARTH_STATE_DIR: this.stateDir, ...loopbackOnly, ...options.env }
    })
  }

  /** Spawned with pipes, for commands that are talked to while they run. */
  spawn(args: readonly string[]): ChildProcess {
    return spawn(process.execPath, ['--', program, ...args], {
      env: { ...process.env, HEARTH_STATE_DIR: this.stateDir, ...loopbackOnly }
    })
  }

  async json<T>(args: readonly string[]): Promise<T> {
    const ran = await this.hearth([...args, '--json'])
    if (ran.code !== 0) throw new Error(`hearth ${args.join(' ')}: ${ran.stderr}`)
    return JSON.parse(ran.stdout) as T
  }

  /** The pid of a living daemon as the supervisor last wrote it; undefined while there is none. */
  pid(name: 'master' | 'agent' | 'supervisor'): number | undefined {
    const text = readFileSync(join(this.stateDir, 'run/supervisor.json'), 'utf8')
    const file = JSON.parse(text) as SupervisorFile
    if (name === 'supervisor') return file.process.pid
    return file.daemons.find((d) => d.name === name)?.process?.pid
  }

  /** Kills a daemon and resolves when another has taken its place. */
  async replace(name: 'master' | 'agent'): Promise<void> {
    const old = await eventually(() => this.pid(name))
    process.kill(old, 'SIGKILL')
    await eventually(() => {
      const now = this.pid(name)
      return now === undefined || now === old ? undefined : now
    })
  }

  log(name: 'master' | 'agent' | 'supervisor'): string {
    const path = join(this.stateDir, `logs/${name}.log`)
    return existsSync(path) ? readFileSync(path, 'utf8') : ''
  }
}

/** A cluster that is up, and is taken down with everything it made when the test ends. */
export async function startCluster(t: Test, upArgs: readonly string[] = []): Promise<Cluster> {
  const cluster = new Cluster(mkdtempSync(join(tmpdir(), 'hearth-e2e-')))
  t.teardown(async () => {
    const down = await cluster.hearth(['down', '--purge'])
    if (down.code !== 0) throw new Error(`hearth down: ${down.stderr}\n${cluster.log('agent').slice(-4_000)}`)
    rmSync(cluster.stateDir, { recursive: true, force: true })
  })
  const up = await cluster.hearth(['up', '--http', 'off', ...upArgs])
  if (up.code !== 0) {
    throw new Error(`hearth up: ${up.stderr}\n${cluster.log('master').slice(-4_000)}\n${cluster.log('agent').slice(-4_000)}`)
  }
  return cluster
}

/** Looks again and again, 10 ms after the look before, until it finds something. The test's time-out is the end. */
export async function eventually<T>(look: () => Promise<T | undefined> | T | undefined): Promise<T> {
  for (;;) {
    const found = await look()
    if (found !== undefined) return found
    await pause(10)
  }
}
