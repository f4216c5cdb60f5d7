import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import t, { type Test } from 'tap'
import { systemBootClock } from '../../agent/host/boot-time.ts'
import { readCgroupLayout, unifiedDirectory } from '../../isolators/cgroup2/layout.ts'
import { joinCgroup, removeCgroups } from '../../isolators/cgroup2/tree.ts'
import { newContainerId } from '../../proto/ids.ts'
import { leaseProgram } from '../support/agent-build.ts'
import { noContainers as skip } from '../support/bundle.ts'
import { until } from '../support/until.ts'

// Each waits for a lease to run out.
t.jobs = 4

const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
const hourMs = 3_600_000

/** One watchdog over one process in a cgroup of its own, told by files as an agent tells it. */
class Watched {
  readonly containerId = newContainerId()
  readonly directory = mkdtempSync(join(tmpdir(), 'hearth-'))
  readonly #cgroup: string
  readonly #program = spawn('sleep', ['1000'], { stdio: 'ignore' })
  #watchdog: ChildProcess | undefined

  constructor(t: Test) {
    this.#cgroup = unifiedDirectory(readCgroupLayout(), basename(this.directory)) ?? ''
    t.teardown(async () => {
      if (this.lives) this.#program.kill('SIGKILL')
      rmSync(this.directory, { recursive: true, force: true })
      if (this.#watchdog !== undefined) await this.over()
      await removeCgroups([this.#cgroup])
    })
  }

  get lives(): boolean {
    return this.#program.exitCode === null && this.#program.signalCode === null
  }

  /** Resolves once it watches. `wrapper`: a program that runs it. */
  async start(wrapper: readonly string[]): Promise<void> {
    mkdirSync(this.#cgroup)
    await joinCgroup(this.#cgroup, this.#program.pid ?? 0)
    const [program = '', ...words] = [...wrapper, '/usr/bin/perl', leaseProgram, this.directory]
    this.#watchdog = spawn(program, words, { stdio: ['ignore', 'ignore', 'inherit'] })
    await until(() => existsSync(join(this.directory, 'watchdog')))
  }

  /** All in boot time as the watchdog sees it. The format is frozen: docs/decisions/0016. */
  lease(killAtMs: number, sentMs: number, lengthMs: number): void {
    const path = join(this.directory, this.containerId)
    writeFileSync(`${path}.draft`, `hearth-lease 1 ${bootId} ${killAtMs} ${sentMs} ${lengthMs}\n${this.#cgroup}\n`)
    renameSync(`${path}.draft`, path)
  }

  /** When it began to end the process, and when it saw nothing left. */
  async fired(): Promise<readonly [number, number]> {
    const path = join(this.directory, `${this.containerId}.fired`)
    const times = (): readonly number[] => (existsSync(path) ? readFileSync(path, 'utf8').trim().split(' ').map(Number) : [])
    await until(() => times().length === 2)
    const [beganMs = 0, emptyMs = 0] = times()
    return [beganMs, emptyMs]
  }

  /** The lease is taken away: with the last one the watchdog ends. */
  async over(): Promise<void> {
    rmSync(join(this.directory, this.containerId), { force: true })
    const watchdog = this.#watchdog
    if (watchdog !== undefined && watchdog.exitCode === null && watchdog.signalCode === null) await once(watchdog, 'exit')
  }
}

const without = (call: string): readonly string[] => [
  'strace',
  '-f',
  '-qq',
  '-o',
  '/dev/null',
  '-e',
  `trace=${call}`,
  '-e',
  `inject=${call}:error=EMFILE`
]

// A host that slept for 11 days: CLOCK_BOOTTIME is so much further than CLOCK_MONOTONIC, on which a timer would be late.
const sleptMs = 1_000_000_000
const slept = ['unshare', '--time', '--boottime', String(sleptMs / 1_000), '--monotonic', '0', '--fork']

for (const [name, wrapper, aheadMs] of [
  ['on a host that slept', slept, sleptMs],
  ['where no timer can be had', without('timerfd_create'), 0]
] as const) {
  t.test(`a lease ends in boot time, neither before nor after its time, ${name}`, { skip }, async (t) => {
    const watched = new Watched(t)
    const nowMs = systemBootClock.nowMs() + aheadMs
    const [killAtMs, endMs] = [nowMs + 1_000, nowMs + 3_000]
    watched.lease(killAtMs, nowMs - 7_000, 10_000)
    await watched.start(wrapper)
    t.ok(watched.lives)
    const [beganMs, emptyMs] = await watched.fired()
    t.ok(beganMs >= killAtMs, `began at ${beganMs}, due at ${killAtMs}`)
    t.ok(emptyMs <= endMs, `empty at ${emptyMs}, promised until ${endMs}`)
    await until(() => !watched.lives)
    await watched.over()
    t.notOk(existsSync(join(watched.directory, 'watchdog')), 'it takes its name along')
  })
}

for (const call of ['inotify_init1', 'inotify_add_watch']) {
  t.test(`without ${call} a lease that changes is seen all the same, and so is the end of the last one`, { skip }, async (t) => {
    const watched = new Watched(t)
    const nowMs = systemBootClock.nowMs()
    watched.lease(nowMs + hourMs, nowMs, hourMs)
    await watched.start(without(call))
    t.ok(watched.lives)
    const changedMs = systemBootClock.nowMs()
    watched.lease(changedMs, changedMs - 8_000, 10_000)
    const [, emptyMs] = await watched.fired()
    t.ok(emptyMs <= changedMs + 2_000, `empty at ${emptyMs}, promised until ${changedMs + 2_000}`)
    await until(() => !watched.lives)
    await watched.over()
  })
}
