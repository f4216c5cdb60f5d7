import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { symlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { OciMount } from '../../../isolators/isolator.ts'
import type { RuntimeSpec } from '../../../isolators/runtime/runtime.ts'
import { usualWalls } from '../../../isolators/walls.ts'
import { type ContainerHost, containerHost } from '../../support/containers.ts'
import { type Attempt, type Container, merged, type Spec } from './attempt.ts'
import { type Bait, layBait } from './bait.ts'

export type RuntimeName = 'runc' | 'crun'

/** What came of one attempt. */
export interface Outcome {
  /** It was refused behind the wall, and got out without it. */
  readonly kind: 'held' | 'escaped' | 'uncounted' | 'broken'
  /** For people: what its programs ended with and last wrote. */
  readonly told: string
}

interface Ran {
  readonly code: number
  readonly lines: string
}

/** Containers on a real runtime with all built-in isolators, and things of the host for them to reach for. */
export class EscapeStage {
  readonly #host: ContainerHost
  readonly #bait: Bait
  #volumes = 0

  private constructor(host: ContainerHost, bait: Bait) {
    this.#host = host
    this.#bait = bait
  }

  static async open(t: { teardown(undo: () => Promise<void>): void }): Promise<EscapeStage> {
    const host = await containerHost(t)
    await furnish(host.layer)
    mkdirSync(join(host.directory, 'programs'))
    const bait = await layBait(host.directory)
    t.teardown(() => bait.close())
    return new EscapeStage(host, bait)
  }

  async play(attempt: Attempt, runtime: RuntimeName, signal: AbortSignal): Promise<Outcome> {
    const given = attempt.given ?? {}
    const without = typeof attempt.without === 'function' ? attempt.without(this.#bait.facts) : attempt.without
    const walled = await this.#run(attempt, given, runtime, signal)
    const control = await this.#run(attempt, merged(given, without), runtime, signal)
    const told = `behind the wall: ${shown(walled)}; without it: ${shown(control)}`
    if (walled.code === 0) return { kind: 'escaped', told }
    if (walled.code !== 1 && !(attempt.refusedBy ?? []).includes(walled.code)) return { kind: 'broken', told }
    return { kind: control.code === 0 ? 'held' : 'uncounted', told }
  }

  async #run(attempt: Attempt, container: Container, runtime: RuntimeName, signal: AbortSignal): Promise<Ran> {
    const host = this.#host
    this.#volumes += 1
    const volume = join(host.directory, 'volumes', String(this.#volumes))
    mkdirSync(volume, { recursive: true })
    attempt.fill?.(volume, this.#bait.facts)
    const bare = host.request(attempt.program)
    const environment = { PATH: '/bin:/usr/bin', ...this.#bait.facts, BAIT_CGROUP: host.cgroupParent }
    const request = {
      ...bare,
      imageMounts: [readOnly('/usr', '/usr'), readOnly('/programs', join(host.directory, 'programs'))],
      mounts: [{ source: volume, target: '/volume', readOnly: false }],
      limits: { milliCpu: 0, memoryBytes: 0, diskBytes: 0, pidsMax: 64 },
      ...container.request,
      process: {
        ...bare.process,
        environment: Object.entries(environment).map(([name, value]) => `${name}=${value}`),
        ...container.process
      },
      walls: { ...usualWalls, ...container.walls }
    }
    try {
      const launch = await host.prepare(request)
      const spec = (await launch.config) as unknown as Spec
      const config = (container.spec?.(spec) ?? spec) as unknown as RuntimeSpec
      await host.runtime.launch({ ...launch, config, runtime }, signal)
      const exit = await host.runtime.wait(request.containerId, signal)
      return { code: exit.kind === 'exited' ? exit.code : -1, lines: lastLines(launch.logPath) }
    } catch (e) {
      signal.throwIfAborted()
      return { code: -1, lines: e instanceof Error ? e.message : String(e) }
    } finally {
      await host.remove(request)
    }
  }
}

const readOnly = (destination: string, source: string): OciMount => ({
  destination,
  type: 'bind',
  source,
  options: ['bind', 'ro', 'nosuid', 'nodev', 'rprivate']
})

/** The host's Perl comes with /usr; what else attempts look for lies in the image. */
async function furnish(layer: string): Promise<void> {
  for (const folder of ['usr', 'suid', 'volume', 'programs']) mkdirSync(join(layer, folder))
  for (const folder of ['lib', 'lib64'])
    if (existsSync(`/${folder}`)) await symlink(readlinkSync(`/${folder}`), join(layer, folder))
  copyFileSync('/usr/bin/id', join(layer, 'suid/id'))
  chmodSync(join(layer, 'suid/id'), 0o4755)
  writeFileSync(join(layer, 'root/secret'), 'of root\n', { mode: 0o600 })
}

const shown = ({ code, lines }: Ran): string => `${code}${lines === '' ? '' : ` (${lines})`}`

function lastLines(path: string): string {
  if (!existsSync(path)) return ''
  const lines = readFileSync(path, 'utf8').trimEnd().split('\n')
  return lines
    .slice(-2)
    .map((line) => line.replace(/^\S+ \S+ \S+ /, ''))
    .join(' / ')
    .slice(0, 300)
}
