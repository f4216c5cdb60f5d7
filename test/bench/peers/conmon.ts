import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { Fault } from '../../../base/fault.ts'
import type { Contender, Prepared } from '../contender.ts'
import { eventually } from '../eventually.ts'
import { launchPatienceMs } from '../first-byte.ts'
import { run } from '../programs.ts'
import type { PeerBundle, PeerBundles } from './bundles.ts'

export interface Programs {
  readonly conmon: string
  readonly runc: string
}

/** conmon with `runc create`, then `runc start`: what a container engine does at the least. Forks from the bench itself. */
export class ConmonRunc implements Contender {
  readonly name = 'conmon + runc create, start'
  readonly #bundles: PeerBundles
  readonly #programs: Programs

  constructor(bundles: PeerBundles, programs: Programs) {
    this.#bundles = bundles
    this.#programs = programs
  }

  async prepare(): Promise<ConmonContainer> {
    return new ConmonContainer(await this.#bundles.make(), this.#bundles.home, this.#programs)
  }
}

export class ConmonContainer implements Prepared {
  readonly id: string
  readonly #bundle: PeerBundle
  readonly #home: string
  readonly #programs: Programs
  #pid = 0
  #started: Promise<void> | undefined

  constructor(bundle: PeerBundle, home: string, programs: Programs) {
    this.id = bundle.id
    this.#bundle = bundle
    this.#home = home
    this.#programs = programs
  }

  async start(signal: AbortSignal): Promise<number> {
    const startNs = process.hrtime.bigint()
    this.#pid = await this.#create()
    const failed = new AbortController()
    this.#started = run(this.#programs.runc, ['--root', join(this.#home, 'runc'), 'start', this.id], { stdio: 'ignore' })
    this.#started.catch((e: unknown) => failed.abort(e))
    const firstNs = await this.#bundle.byte.wait(AbortSignal.any([signal, failed.signal, AbortSignal.timeout(launchPatienceMs)]))
    return Number(firstNs - startNs) / 1e6
  }

  async remove(): Promise<void> {
    await this.#started?.catch(() => undefined) // told by start()
    if (this.#pid > 0) {
      process.kill(this.#pid, 'SIGKILL')
      await this.#ended()
      await run(this.#programs.runc, ['--root', join(this.#home, 'runc'), 'delete', this.id])
    }
    this.#pid = 0
    rmSync(join(this.#home, 'exits', this.id), { force: true })
    await this.#bundle.remove()
  }

  /** The steps of the removal that is measured against: kill, wait, delete, umount, for a shell. */
  get removalWords(): string {
    return [this.id, this.#pid, join(this.#home, 'exits', this.id), join(this.#bundle.directory, 'rootfs')].join(' ')
  }

  /** The steps were done by somebody else. */
  removed(): void {
    this.#pid = 0
  }

  #ended(): Promise<void> {
    return eventually(`${this.id} to end`, () => existsSync(join(this.#home, 'exits', this.id)))
  }

  async #create(): Promise<number> {
    const { directory } = this.#bundle
    const child = spawn(
      this.#programs.conmon,
      [
        ...['--api-version', '1', '-c', this.id, '-u', this.id, '-r', this.#programs.runc, '-b', directory],
        ...['--runtime-arg', '--root', '--runtime-arg', join(this.#home, 'runc'), '-p', join(directory, 'pid')],
        ...['--conmon-pidfile', join(directory, 'conmon.pid'), '--exit-dir', join(this.#home, 'exits')],
        ...['--socket-dir-path', directory, '-l', `k8s-file:${join(directory, 'log')}`],
        ...['--log-size-max', '16777216', '--no-sync-log']
      ],
      {
        cwd: directory,
        detached: true,
        stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
        env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', _OCI_SYNCPIPE: '3' }
      }
    )
    const line = await firstLine(child)
    child.unref()
    const answer = JSON.parse(line === '' ? '{}' : line) as { readonly data?: number; readonly message?: string }
    if (answer.data === undefined || answer.data <= 0) {
      throw new Fault('unavailable', `conmon did not create: ${answer.message ?? line}`)
    }
    return answer.data
  }
}

function firstLine(child: ChildProcess): Promise<string> {
  const pipe = child.stdio[3] as Readable
  return new Promise((resolve, reject) => {
    let text = ''
    pipe.setEncoding('utf8')
    pipe.on('data', (chunk: string) => {
      text += chunk
      if (text.includes('\n')) resolve(text.slice(0, text.indexOf('\n')))
    })
    pipe.once('end', () => resolve(text))
    pipe.once('error', reject)
    child.once('error', reject)
  })
}
