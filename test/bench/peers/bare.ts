import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { readCgroupLayout } from '../../../isolators/cgroup2/layout.ts'
import type { Contender, Prepared } from '../contender.ts'
import { launchPatienceMs } from '../first-byte.ts'
import { awaitDeath, run } from '../programs.ts'
import type { PeerBundle, PeerBundles } from './bundles.ts'

/** A runtime without a monitor: nobody holds log and exit code, so it is no engine, only the floor. */
export class BareRuntime implements Contender {
  readonly name: string
  readonly note?: string
  readonly #bundles: PeerBundles
  readonly #command: readonly [string, ...string[]]

  constructor(kind: 'runc' | 'crun', program: string, bundles: PeerBundles) {
    this.name = `bare ${kind} run --detach`
    this.#bundles = bundles
    const state = ['--root', join(bundles.home, kind)]
    const layout = readCgroupLayout()
    if (kind === 'crun' && layout.mode === 'hybrid') {
      this.note = 'within unshare -m and after umount of the v2 tree, which crun needs on a hybrid host'
      const view = 'umount "$0" || exit 1; exec "$@"'
      this.#command = ['unshare', '-m', 'sh', '-c', view, layout.unified ?? '', program, ...state]
    } else this.#command = [program, ...state]
  }

  async prepare(): Promise<Prepared> {
    return new BareContainer(await this.#bundles.make(), this.#command)
  }
}

class BareContainer implements Prepared {
  readonly id: string
  readonly #bundle: PeerBundle
  readonly #command: readonly [string, ...string[]]
  #ran: Promise<void> | undefined

  constructor(bundle: PeerBundle, command: readonly [string, ...string[]]) {
    this.id = bundle.id
    this.#bundle = bundle
    this.#command = command
  }

  async start(signal: AbortSignal): Promise<number> {
    const startNs = process.hrtime.bigint()
    const failed = new AbortController()
    this.#ran = this.#say(['run', '--detach', '--bundle', this.#bundle.directory, '--pid-file', this.#pidFile, this.id], 'ignore')
    this.#ran.catch((e: unknown) => failed.abort(e))
    const firstNs = await this.#bundle.byte.wait(AbortSignal.any([signal, failed.signal, AbortSignal.timeout(launchPatienceMs)]))
    return Number(firstNs - startNs) / 1e6
  }

  async remove(): Promise<void> {
    const ran = await this.#ran?.then(
      () => true,
      () => false
    )
    if (ran === true) {
      const pid = Number(readFileSync(this.#pidFile, 'utf8'))
      process.kill(pid, 'SIGKILL')
      await awaitDeath([pid])
      await this.#say(['delete', this.id])
    }
    await this.#bundle.remove()
  }

  get #pidFile(): string {
    return join(this.#bundle.directory, 'pid')
  }

  #say(words: readonly string[], stdio?: 'ignore'): Promise<void> {
    const [program, ...args] = this.#command
    return run(program, [...args, ...words], stdio === undefined ? {} : { stdio })
  }
}
