import { type ChildProcess, spawn } from 'node:child_process'
import { copyFileSync, createWriteStream, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { MembersFacts } from '../../sdk/raft-messages.ts'
import { Cluster, eventually, type Ran, type RunOptions, runProgram } from './cluster.ts'

const programs = join(import.meta.dirname, '../../dist')

/** A port that nobody has now; whoever takes it before its user does makes that one end, and the test with it. */
export function freePort(): Promise<number> {
  const server = createServer()
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0))
    })
  })
}

interface Daemon {
  readonly child: ChildProcess
  readonly ended: Promise<unknown>
}

/** One of several masters: the built program, in a state directory of its own. */
export class MasterDaemon {
  readonly stateDir: string
  readonly address: string
  readonly #cluster: Cluster
  #daemon: Daemon | undefined

  constructor(stateDir: string, port: number, scheme: 'tcp' | 'tls') {
    this.stateDir = stateDir
    this.address = `${scheme}:127.0.0.1:${port}`
    this.#cluster = new Cluster(stateDir)
    mkdirSync(stateDir)
  }

  /** Without `args` it is alone. Resolves once its process runs. */
  start(args: readonly string[] = ['--peer-listen', this.address]): void {
    const log = createWriteStream(join(this.stateDir, 'test.log'), { flags: 'a' })
    const words = [join(programs, 'master.cjs'), '--state-dir', this.stateDir, '--http', 'off', ...args]
    const child = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'pipe'] })
    child.stdout.pipe(log, { end: false })
    child.stderr.pipe(log, { end: false })
    this.#daemon = { child, ended: new Promise((resolve) => child.once('close', resolve)) }
  }

  /** A master that founds nothing; it has the secret of that cluster. */
  wait(founder: MasterDaemon, more: readonly string[] = []): void {
    copyFileSync(join(founder.stateDir, 'master-token'), join(this.stateDir, 'master-token'))
    this.start(['--peer-listen', this.address, '--wait', 'yes', ...more])
  }

  get pid(): number | undefined {
    return this.#daemon?.child.pid
  }

  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    this.#daemon?.child.kill(signal)
    await this.#daemon?.ended
    this.#daemon = undefined
  }

  hearth(args: readonly string[], options?: RunOptions): Promise<Ran> {
    return this.#cluster.hearth(args, options)
  }

  json<T>(args: readonly string[]): Promise<T> {
    return this.#cluster.json<T>(args)
  }

  /** As its own file `hearth raft status --json` has it; undefined while it answers nothing. */
  async status(): Promise<MembersFacts | undefined> {
    const ran = await this.hearth(['raft', 'status', '--json'])
    return ran.stdout === '' ? undefined : (JSON.parse(ran.stdout) as MembersFacts)
  }

  get log(): string {
    const path = join(this.stateDir, 'test.log')
    return existsSync(path) ? readFileSync(path, 'utf8') : ''
  }
}

/** Masters, and agents that know them all. Everything ends with the test. */
export class MasterCluster {
  readonly root: string
  readonly masters: MasterDaemon[] = []
  readonly #agents: Daemon[] = []
  readonly #agentDirs: string[] = []

  private constructor(root: string) {
    this.root = root
  }

  static make(t: Test): MasterCluster {
    const cluster = new MasterCluster(mkdtempSync(join(tmpdir(), 'hm-')))
    t.teardown(() => cluster.#end())
    return cluster
  }

  async master(scheme: 'tcp' | 'tls' = 'tcp'): Promise<MasterDaemon> {
    const master = new MasterDaemon(join(this.root, `m${this.masters.length + 1}`), await freePort(), scheme)
    this.masters.push(master)
    return master
  }

  /** An agent with real containers. Its token is that of the first master. */
  agent(masters: readonly MasterDaemon[]): string {
    const stateDir = join(this.root, `a${this.#agentDirs.length + 1}`)
    mkdirSync(stateDir)
    const [first] = masters
    if (first !== undefined) copyFileSync(join(first.stateDir, 'agent-token'), join(stateDir, 'agent-token'))
    const known = masters.map((master) => `unix:${master.stateDir}/run/agents.sock`).join(',')
    const log = createWriteStream(join(stateDir, 'test.log'), { flags: 'a' })
    const words = [join(programs, 'agent.cjs'), '--state-dir', stateDir, '--masters', known]
    const child = spawn(process.execPath, words, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, HEARTH_HEALTH_DNS: 'no' }
    })
    child.stdout.pipe(log, { end: false })
    child.stderr.pipe(log, { end: false })
    this.#agents.push({ child, ended: new Promise((resolve) => child.once('close', resolve)) })
    this.#agentDirs.push(stateDir)
    return stateDir
  }

  /** To the process of the agent with that state directory. */
  signalAgent(stateDir: string, signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#agents[this.#agentDirs.indexOf(stateDir)]?.child.kill(signal)
  }

  /** The number of whoever leads, as one of these masters knows. */
  leader(of: readonly MasterDaemon[] = this.masters): Promise<number> {
    return eventually(async () => {
      for (const master of of) {
        const status = master.pid === undefined ? undefined : await master.status()
        if (status !== undefined && status.leader !== 0) return status.leader
      }
      return undefined
    })
  }

  async #end(): Promise<void> {
    for (const { child, ended } of this.#agents) {
      child.kill('SIGCONT') // one that a test has stopped hears nothing else
      child.kill('SIGTERM')
      await ended
    }
    for (const stateDir of this.#agentDirs) {
      const words = [join(programs, 'agent.cjs'), '--state-dir', stateDir, '--stop-workloads']
      await runProgram(process.execPath, words)
    }
    await Promise.all(this.masters.map((master) => master.end('SIGKILL')))
    rmSync(this.root, { recursive: true, force: true })
  }
}
