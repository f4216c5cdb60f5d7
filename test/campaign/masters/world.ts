import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import {
  copyFileSync,
  createWriteStream,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync
} from 'node:fs'
import { join } from 'node:path'
import { faultTable } from '../../../base/fault.ts'

/** Room for the log's segments, a snapshot and little else. */
const smallDiskBytes = 192 * 1024 * 1024

/** Debian keeps it in a folder named by the processor. */
const libfaketime = readdirSync('/usr/lib')
  .map((folder) => join('/usr/lib', folder, 'faketime/libfaketimeMT.so.1'))
  .find((path) => existsSync(path))

export interface LinkFaults {
  readonly delayMs?: number
  /** Of 1,000 frames. */
  readonly lost?: number
  readonly doubled?: number
  readonly overtaken?: number
}

export type Build = 'newer' | 'older'

export interface WorldConfig {
  readonly directory: string
  readonly programs: Readonly<Record<Build, string>>
  /** What masters run at first. */
  readonly build: Build
  /** Of the library that slows syncs down; the campaign has compiled it. */
  readonly slowSync: string
  readonly gate: string
  /** Of all masters that this run may come to have. */
  readonly masters: number
  readonly smallDisk: number
  readonly withClock: boolean
  readonly seed: number
}

/** A master and its gate, in a namespace of their own. */
export class Place {
  readonly id: number
  readonly stateDir: string
  readonly socket: string
  readonly address: string
  readonly #netns: string
  readonly #config: WorldConfig
  #gate: ChildProcess | undefined
  #child: ChildProcess | undefined
  #ended: Promise<void> = Promise.resolve()
  /** Ended by the campaign: how is no news. */
  #isKilled = false
  /** How the process ended where the campaign did not end it. */
  readonly deaths: string[] = []
  /** What it runs from its next start on. */
  build: Build
  /** A sync of this life may have failed: it may end with `corrupt`, for nobody may believe what it had not stored. */
  #hasMetEio = false
  #failsSyncs = false
  /** What is under way when a run is broken off must not start it again. */
  #isClosed = false
  #image: string | undefined

  constructor(config: WorldConfig, id: number, netns: string) {
    this.id = id
    this.build = config.build
    this.#config = config
    this.#netns = netns
    this.stateDir = join(config.directory, `m${id}`)
    this.socket = join(this.stateDir, 'run/master.sock')
    this.address = `tcp:127.0.0.1:${7000 + id}`
    mkdirSync(this.stateDir, { recursive: true })
    writeFileSync(this.#wish, Buffer.alloc(8))
    if (config.smallDisk === id) this.#mount()
    if (config.withClock) writeFileSync(this.#clock, '+0\n')
  }

  get isRunning(): boolean {
    return this.#child !== undefined
  }

  async openGate(): Promise<void> {
    const { masters, seed, gate } = this.#config
    const others = Array.from({ length: masters }, (_, i) => i + 1).filter((id) => id !== this.id)
    const peers = others.map((id) => ({ id, host: `10.77.0.${id}` }))
    const words = [gate, JSON.stringify({ own: this.id, peers, seed: seed * 10 + this.id })]
    const child = spawn('ip', ['netns', 'exec', this.#netns, process.execPath, ...words], { stdio: ['pipe', 'pipe', 'inherit'] })
    this.#gate = child
    await new Promise<void>((resolve, reject) => {
      child.stdout?.once('data', () => resolve())
      child.once('exit', () => reject(new Error('a gate did not open')))
    })
  }

  start(waitsLike?: Place): void {
    if (this.#child !== undefined || this.#isClosed) return
    const waits = waitsLike === undefined ? [] : ['--wait', 'yes']
    if (waitsLike !== undefined) copyFileSync(join(waitsLike.stateDir, 'master-token'), join(this.stateDir, 'master-token'))
    const { programs, slowSync, withClock } = this.#config
    if (withClock && libfaketime === undefined) throw new Error('there is no libfaketimeMT.so.1 below /usr/lib')
    const words = [programs[this.build], '--state-dir', this.stateDir, '--http', 'off', '--peer-listen', this.address, ...waits]
    const clock = withClock
      ? { FAKETIME_TIMESTAMP_FILE: this.#clock, FAKETIME_CACHE_DURATION: '1', DONT_FAKE_MONOTONIC: '1' }
      : {}
    const child = spawn('ip', ['netns', 'exec', this.#netns, process.execPath, ...words], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...process.env,
        LD_PRELOAD: withClock ? `${slowSync}:${libfaketime}` : slowSync,
        HEARTH_SLOW_SYNC: this.#wish,
        UV_THREADPOOL_SIZE: '8',
        ...clock
      }
    })
    const log = createWriteStream(this.logPath, { flags: 'a' })
    child.stdout.pipe(log, { end: false })
    child.stderr.pipe(log, { end: false })
    this.#child = child
    this.#isKilled = false
    this.#hasMetEio = this.#failsSyncs
    this.#ended = new Promise((resolve) => {
      child.once('close', (code, signal) => {
        this.#child = undefined
        const isOwed = this.#isKilled || (this.#hasMetEio && code === faultTable.corrupt.exitCode)
        if (!isOwed) this.deaths.push(signal ?? `exit code ${code}`)
        resolve()
      })
    })
  }

  /** Also of a process that is stopped just now. */
  async kill(signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<void> {
    this.#isKilled = true
    this.#child?.kill('SIGCONT')
    this.#child?.kill(signal)
    await this.#ended
  }

  signal(name: 'SIGSTOP' | 'SIGCONT'): void {
    this.#child?.kill(name)
  }

  link(peer: number, faults: LinkFaults): void {
    this.#gate?.stdin?.write(`${JSON.stringify({ peer, ...faults })}\n`)
  }

  /** Drops what comes from these masters; what goes to them is theirs to drop. */
  deafTo(ids: readonly number[]): void {
    const rules = ids.map((id) => `add rule inet cut input ip saddr 10.77.0.${id} drop\n`).join('')
    const table = 'add table inet cut\ndelete table inet cut\nadd table inet cut\n'
    const chain = 'add chain inet cut input { type filter hook input priority 0; }\n'
    execFileSync('ip', ['netns', 'exec', this.#netns, 'nft', '-f', '-'], { input: `${table}${chain}${rules}` })
  }

  syncs(delayMs: number, fails: boolean): void {
    this.#failsSyncs = fails
    this.#hasMetEio ||= fails
    const wish = Buffer.alloc(8)
    wish.writeUInt32LE(delayMs, 0)
    wish.writeUInt32LE(fails ? 1 : 0, 4)
    writeFileSync(this.#wish, wish, { flag: 'r+' })
  }

  clock(offsetSeconds: number): void {
    writeFileSync(this.#clock, `${offsetSeconds < 0 ? '' : '+'}${offsetSeconds}\n`)
  }

  /** Leaves no byte on its file system; without effect where it has none of its own. */
  fillDisk(): void {
    if (this.#image === undefined) return
    try {
      execFileSync('dd', ['if=/dev/zero', `of=${this.#filler}`, 'bs=64k'], { stdio: 'ignore' })
    } catch {
      // It ends with ENOSPC, as it should.
    }
  }

  freeDisk(): void {
    if (this.#image !== undefined) execFileSync('rm', ['-f', this.#filler])
  }

  get logPath(): string {
    return join(this.#config.directory, `m${this.id}.log`)
  }

  get log(): string {
    return existsSync(this.logPath) ? readFileSync(this.logPath, 'utf8') : ''
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await this.kill()
    const gate = this.#gate
    if (gate !== undefined) {
      const ended = new Promise((resolve) => gate.once('exit', resolve))
      gate.kill('SIGKILL')
      if (gate.exitCode === null && gate.signalCode === null) await ended
    }
    if (this.#image !== undefined) execFileSync('umount', [this.stateDir])
    this.#image = undefined
  }

  #mount(): void {
    this.#image = join(this.#config.directory, `m${this.id}.ext4`)
    writeFileSync(this.#image, '')
    truncateSync(this.#image, smallDiskBytes)
    execFileSync('mkfs.ext4', ['-q', '-O', '^has_journal', this.#image])
    execFileSync('mount', ['-o', 'loop', this.#image, this.stateDir])
  }

  get #wish(): string {
    return join(this.#config.directory, `m${this.id}.syncs`)
  }

  get #clock(): string {
    return join(this.#config.directory, `m${this.id}.clock`)
  }

  get #filler(): string {
    return join(this.stateDir, 'filler')
  }
}

/** Masters in namespaces around a bridge, which lies in one of its own: nothing of the host's network is touched. */
export class MastersWorld {
  readonly places: readonly Place[]
  readonly #prefix: string
  readonly #directory: string

  private constructor(config: WorldConfig, prefix: string) {
    this.#prefix = prefix
    this.#directory = config.directory
    this.places = Array.from({ length: config.masters }, (_, i) => new Place(config, i + 1, `${prefix}${i + 1}`))
  }

  static async open(config: WorldConfig): Promise<MastersWorld> {
    const prefix = `hm${process.pid % 100_000}x`
    mkdirSync(config.directory, { recursive: true })
    const world = new MastersWorld(config, prefix)
    try {
      makeNetwork(prefix, config.masters)
      await Promise.all(world.places.map((place) => place.openGate()))
    } catch (e) {
      await world.close()
      throw e
    }
    return world
  }

  place(id: number): Place {
    const found = this.places[id - 1]
    if (found === undefined) throw new Error(`there is no place ${id}`)
    return found
  }

  async close(): Promise<void> {
    await Promise.all(this.places.map((place) => place.close()))
    for (const name of [...this.places.map((place) => String(place.id)), 'hub']) {
      const netns = `${this.#prefix}${name}`
      if (existsSync(`/run/netns/${netns}`)) execFileSync('ip', ['netns', 'delete', netns])
    }
    rmSync(this.#directory, { recursive: true, force: true })
  }
}

function makeNetwork(prefix: string, masters: number): void {
  const hub = `${prefix}hub`
  execFileSync('ip', ['netns', 'add', hub])
  const inHub = ['link add br0 type bridge', 'link set br0 up']
  for (let id = 1; id <= masters; id += 1) {
    execFileSync('ip', ['netns', 'add', `${prefix}${id}`])
    inHub.push(`link add p${id} type veth peer name eth0 netns ${prefix}${id}`, `link set p${id} master br0 up`)
  }
  execFileSync('ip', ['-n', hub, '-batch', '-'], { input: `${inHub.join('\n')}\n` })
  for (let id = 1; id <= masters; id += 1) {
    const own = ['link set lo up', `addr add 10.77.0.${id}/24 dev eth0`, 'link set eth0 up']
    execFileSync('ip', ['-n', `${prefix}${id}`, '-batch', '-'], { input: `${own.join('\n')}\n` })
  }
}
