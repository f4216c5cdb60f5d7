import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../../base/clock.ts'
import { errnoOf, Fault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import { isPopulated, joinCgroup, killCgroup, makeCgroup } from '../../isolators/cgroup2/tree.ts'
import type { Isolator } from '../../isolators/isolator.ts'

interface Parts {
  readonly clock: Pick<Clock, 'monotonicMs' | 'sleep'>
  readonly log: Log
  /** Mount point of the v2 tree. */
  readonly unified: string
}

/** A dash in a slice's name is a step down in the tree (systemd.slice(5)). */
const slice = 'hearth-workloads.slice'
const slicePath = 'hearth.slice/hearth-workloads.slice'
const holder = 'holder'
/**
 * Without it systemd stops the whole scope where the kernel's out-of-memory killer took one process of it. Later versions, and Debian 12's,
 * have it for scopes; ones between 250 and these stop the scope and know no setting against it.
 */
const oomPolicy = 'OOMPolicy=continue'
const patienceMs = 30_000
const pollMs = 2

/** `hearth-containers.scope` for the usual state directory; others have a name of their own. */
export function scopeName(stateDir: string): string {
  if (stateDir === '/var/lib/hearth') return 'hearth-containers.scope'
  return `hearth-containers-${createHash('sha256').update(stateDir).digest('hex').slice(0, 8)}.scope`
}

/** The cgroup of a scope in our slice. systemd's own tree begins where process 1 lives, in a container not at the top. */
export function scopePath(name: string, cgroupOfInit: string): string {
  const init = /^0::(\/.*)$/m.exec(cgroupOfInit)?.[1] ?? '/'
  return join(init.replace(/\/init\.scope$/, '') || '/', slicePath, name)
}

export const initCgroup = (): string => readFileSync('/proc/1/cgroup', 'utf8')

/**
 * The delegated scope in which all monitors and containers live. systemd leaves it alone as long as any process is in it, whatever
 * becomes of the agent: a slice cannot be delegated, and a delegated service whose process dies cannot start again beside its
 * containers (219/CGROUP). A `sleep` in a leaf of its own keeps it while nothing else runs.
 */
export class WorkloadScope {
  readonly name: string
  /** Path of its cgroup in the v2 tree. */
  readonly path: string
  readonly #parts: Parts
  #making: Promise<void> | undefined
  #hasOomPolicy = true

  constructor(parts: Parts, config: { readonly name: string; readonly path: string }) {
    this.#parts = parts
    this.name = config.name
    this.path = config.path
  }

  get #directory(): string {
    return join(this.#parts.unified, this.path)
  }

  /** Makes the scope where it is not there. Throws `Fault('unavailable')` with systemd's words. */
  ensure(): Promise<void> {
    this.#making ??= this.#ensure().finally(() => {
      this.#making = undefined
    })
    return this.#making
  }

  /** Every launch goes through it before anything is made below the scope. */
  isolator(): Isolator {
    return {
      name: 'workload-scope',
      capabilities: async () => [{ name: 'systemd.scope', present: true, detail: this.name }],
      prepare: async () => {
        await this.ensure()
        return {}
      },
      cleanup: async () => undefined
    }
  }

  /** Lets systemd remove the scope where nothing but its holder is left in it; a launch makes it anew. */
  async release(): Promise<void> {
    for (const child of await this.#children()) if (child !== holder && (await isPopulated(join(this.#directory, child)))) return
    killCgroup(join(this.#directory, holder))
  }

  async #ensure(): Promise<void> {
    const untilMs = this.#parts.clock.monotonicMs() + patienceMs
    while ((await isPopulated(this.#directory)) !== true) {
      const why = await this.#make(untilMs)
      if (why === undefined) break
      if (this.#hasOomPolicy && why.includes('OOMPolicy')) {
        this.#hasOomPolicy = false
        this.#parts.log.warn({ why }, 'systemd.scope_without_oom_policy')
        continue
      }
      // The one that was released a moment ago is still being removed.
      if (!/already (loaded|exists)/.test(why) || this.#parts.clock.monotonicMs() > untilMs)
        throw new Fault('unavailable', `${this.name} cannot be made, so no container can start: ${why}`)
      await this.#pause()
    }
    // An agent that died in the middle left the holder where controllers could not be switched on.
    for (const pid of this.#atTheTop()) await this.#hold(pid)
  }

  /**
   * `systemd-run --scope` has the scope made around itself and becomes the program by exec: its pid is the holder's. Resolves with
   * why it could not be made, in systemd's words.
   */
  async #make(untilMs: number): Promise<string | undefined> {
    const properties = ['Delegate=yes', 'TasksMax=infinity', ...(this.#hasOomPolicy ? [oomPolicy] : [])]
    const options = [...properties.map((property) => `--property=${property}`), '--description=Containers of Hearth']
    const child = spawn(
      'systemd-run',
      ['--scope', '--quiet', '--collect', `--unit=${this.name}`, `--slice=${slice}`, ...options, '--', 'sleep', 'infinity'],
      { detached: true, stdio: ['ignore', 'ignore', 'pipe'], env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' } }
    )
    const failed = failureOf(child)
    while (child.pid === undefined || !this.#atTheTop().includes(child.pid)) {
      const why = failed() ?? (this.#parts.clock.monotonicMs() > untilMs ? 'systemd did not make it in time' : undefined)
      if (why !== undefined) return why
      await this.#pause()
    }
    await this.#hold(child.pid)
    child.unref()
    child.stderr?.destroy()
    this.#parts.log.info({ scope: this.name, holder: child.pid }, 'systemd.scope_made')
    return undefined
  }

  #pause(): Promise<void> {
    return this.#parts.clock.sleep(pollMs, new AbortController().signal)
  }

  async #hold(pid: number): Promise<void> {
    await makeCgroup(this.#parts.unified, join(this.path, holder), [])
    try {
      await joinCgroup(join(this.#directory, holder), pid)
    } catch (e) {
      if (errnoOf(e) !== 'ESRCH') throw e // it has ended: nothing to move
    }
  }

  async #children(): Promise<readonly string[]> {
    try {
      const entries = await readdir(this.#directory, { withFileTypes: true })
      return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name)
    } catch (e) {
      if (errnoOf(e) === 'ENOENT') return [] // no launch has made it, or systemd was quicker
      throw e
    }
  }

  /** Processes in the scope itself, not in one of its leaves. */
  #atTheTop(): readonly number[] {
    try {
      return readFileSync(join(this.#directory, 'cgroup.procs'), 'utf8').trim().split('\n').filter(Boolean).map(Number)
    } catch {
      return [] // not there yet
    }
  }
}

/** The last words of a child that ended, or undefined while it lives. */
function failureOf(child: ChildProcess): () => string | undefined {
  let words = ''
  let over: string | undefined
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    words = `${words}${text}`.slice(-500)
  })
  child.once('error', (e) => {
    over = e.message
  })
  child.once('close', (code, signal) => {
    over = words.trim() || `systemd-run ended with ${code ?? signal}`
  })
  return () => over
}
