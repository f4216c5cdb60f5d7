import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync, readlinkSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import type { Exec } from '../../base/exec.ts'
import { isFault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import type { Capability } from '../../proto/gen/messages.ts'

type Env = Readonly<Record<string, string | undefined>>

/** The unit whose main process this is (systemd.exec(5), "Environment variables set on executed processes"). */
export interface SystemdUnit {
  readonly name: string
  /** The unit's own cgroup, as the v2 tree names it. */
  readonly cgroup: string
  /** Type=notify: systemd waits for words. */
  readonly notify: boolean
  /** Between two signs of life, half of what the unit allows; 0 without a watchdog. */
  readonly beatMs: number
}

/** Name of the leaf of its unit in which the agent lives: a cgroup with controllers for its children may hold no process. */
export const agentLeaf = 'agent'

/**
 * The unit of this process, or undefined where systemd did not start it. INVOCATION_ID alone is inherited by every descendant
 * of a unit, SYSTEMD_EXEC_PID (systemd 248) names the one process that was started.
 */
export function detectUnit(env: Env, pid: number, cgroupText: string): SystemdUnit | undefined {
  if (!env['INVOCATION_ID'] || env['SYSTEMD_EXEC_PID'] !== String(pid)) return undefined
  const path = /^0::(\/.*)$/m.exec(cgroupText)?.[1] ?? '/'
  const cgroup = basename(path) === agentLeaf ? dirname(path) : path
  if (!cgroup.endsWith('.service')) return undefined
  const watchdogUs =
    env['WATCHDOG_PID'] === undefined || env['WATCHDOG_PID'] === String(pid) ? Number(env['WATCHDOG_USEC'] ?? 0) : 0
  return {
    name: basename(cgroup),
    cgroup,
    notify: Boolean(env['NOTIFY_SOCKET']),
    beatMs: Number.isFinite(watchdogUs) && watchdogUs > 0 ? Math.max(1, Math.floor(watchdogUs / 2000)) : 0
  }
}

const childPatienceMs = 10_000

/**
 * Tells systemd how the agent does (sd_notify(3)). Node opens no datagram sockets of the unix family, so a `systemd-notify` child
 * speaks in our name; it costs a fork every half watchdog period. The signs of life come from the main event loop: one that
 * stalls is silent, systemd restarts the agent, and the tasks go on.
 */
export class SystemdNotice {
  readonly #unit: SystemdUnit
  readonly #log: Log
  #beats: NodeJS.Timeout | undefined
  #speaking: ChildProcess | undefined

  constructor(unit: SystemdUnit, log: Log) {
    this.#unit = unit
    this.#log = log
  }

  /** READY=1; the signs of life begin. Resolves when systemd has it. */
  async ready(status: string): Promise<void> {
    if (!this.#unit.notify) return
    await this.#say(['--ready', `--status=${status}`])
    this.#beat()
  }

  #beat(): void {
    if (this.#unit.beatMs === 0 || this.#beats !== undefined) return
    this.#beats = setInterval(() => {
      // One that does not come to its end must not pile up: without its word the watchdog does its work.
      if (this.#speaking === undefined) void this.#say(['WATCHDOG=1'])
    }, this.#unit.beatMs)
  }

  async stopping(): Promise<void> {
    if (this.#unit.notify) await this.#say(['STOPPING=1'])
  }

  close(): void {
    clearInterval(this.#beats)
  }

  #say(words: readonly string[]): Promise<void> {
    return new Promise((resolve) => {
      const child = spawn('systemd-notify', [...words], { stdio: 'ignore', timeout: childPatienceMs, killSignal: 'SIGKILL' })
      this.#speaking = child
      const over = (why: string | undefined): void => {
        if (this.#speaking === child) this.#speaking = undefined
        if (why !== undefined) this.#log.warn({ words: words.join(' '), why }, 'systemd.notify_failed')
        resolve()
      }
      child.once('error', (e) => over(e.message))
      child.once('exit', (code, signal) => over(code === 0 ? undefined : `it ended with ${code ?? signal}`))
    })
  }
}

/** What each setting of the unit must say so that containers survive the agent; values as `systemctl show` prints them. */
const needed: readonly (readonly [setting: string, good: RegExp, want: string, why: string])[] = [
  ['Delegate', /^yes$/, 'yes', 'systemd may otherwise take the agent’s cgroup apart'],
  ['KillMode', /^process$/, 'process', 'a stop of the agent would end containers'],
  ['NotifyAccess', /^(all|exec|main)$/, 'all', 'systemd would not hear that the agent is ready'],
  ['Restart', /^(always|on-failure|on-abnormal)$/, 'always', 'nobody would start the agent again']
]

/** One sentence for each setting that is wrong. Pure; `ownMounts`: the unit gave the process a mount namespace of its own. */
export function wrongSettings(unit: SystemdUnit, shown: string, ownMounts: boolean): readonly string[] {
  const values = new Map(shown.split('\n').map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]))
  const wrong = needed.flatMap(([setting, good, want, why]) => {
    const value = values.get(setting)
    if (value === undefined || good.test(value) || (setting === 'NotifyAccess' && !unit.notify)) return []
    return [`${setting}=${value} in ${unit.name} must be ${setting}=${want}: ${why}`]
  })
  const mounts = `${unit.name} has a mount namespace of its own, so its mounts are not the host’s: remove PrivateTmp=, ProtectSystem= and like options`
  return ownMounts ? [...wrong, mounts] : wrong
}

/** How the unit is set up, as a row for the operator; absent means that something in it is wrong, and the detail says what. */
export async function unitCapability(unit: SystemdUnit, exec: Exec, signal: AbortSignal): Promise<Capability> {
  const name = 'systemd.unit'
  try {
    const settings = needed.map(([setting]) => setting).join(',')
    const { stdout } = await exec.run('systemctl', ['show', unit.name, '-p', settings], { timeoutMs: 10_000 }, signal)
    const wrong = wrongSettings(unit, stdout, readlinkSync('/proc/self/ns/mnt') !== readlinkSync('/proc/1/ns/mnt'))
    return { name, present: wrong.length === 0, detail: wrong.length === 0 ? unit.name : wrong.join('; ') }
  } catch (e) {
    if (!isFault(e)) throw e
    return { name, present: false, detail: e.message }
  }
}

/** The unit of this process as the kernel and systemd's variables show it. */
export const ownUnit = (env: Env): SystemdUnit | undefined =>
  detectUnit(env, process.pid, readFileSync('/proc/self/cgroup', 'utf8'))
