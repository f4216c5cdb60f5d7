import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Fault } from '../../../base/fault.ts'
import { randomId } from '../../../base/random.ts'
import type { AgentUnderTest } from '../agent-under-test.ts'
import { dropCgroup } from '../cgroups.ts'
import type { Cleanup } from '../cleanup.ts'
import { FirstByte } from '../first-byte.ts'
import { run } from '../programs.ts'

interface Config {
  readonly root: Readonly<Record<string, unknown>>
  readonly mounts: readonly { readonly destination: string; readonly options?: readonly string[] }[]
  readonly linux: Readonly<Record<string, unknown>>
}

/** One container of a peer: the config.json that hearth wrote, on an overlay that is mounted already. */
export interface PeerBundle {
  readonly id: string
  readonly directory: string
  readonly byte: FirstByte
  remove(): Promise<void>
}

/**
 * Makes bundles for the peers out of one that the agent wrote. Changed is only what cannot be the same: the container's id where
 * it names files, the cgroup's parent (another one, as deep and as long), and the root, mounted beforehand.
 */
export class PeerBundles {
  readonly home: string
  readonly cgroupParent: string
  readonly #template: { readonly id: string; readonly text: string; readonly stateDir: string; readonly cgroupParent: string }
  readonly #fifoDir: string
  readonly #cleanup: Cleanup

  private constructor(home: string, agent: AgentUnderTest, template: { id: string; text: string }, cleanup: Cleanup) {
    this.home = home
    this.#template = { ...template, stateDir: agent.stateDir, cgroupParent: agent.cgroupParent }
    this.cgroupParent = agent.cgroupParent.replace('hearth-bench', 'hearth-peers')
    this.#fifoDir = agent.fifoDir
    this.#cleanup = cleanup
  }

  /** Runs one container of the agent to read what it wrote. */
  static async from(agent: AgentUnderTest, home: string, cleanup: Cleanup): Promise<PeerBundles> {
    const container = agent.prepare('runc')
    try {
      await container.start(AbortSignal.timeout(30_000), 'untimed')
      const text = readFileSync(join(agent.bundleOf(container.id), 'config.json'), 'utf8')
      const bundles = new PeerBundles(home, agent, { id: container.id, text }, cleanup)
      cleanup.add('the cgroups of the peers', () => dropCgroup(bundles.cgroupParent))
      for (const name of ['c', 'exits', 'runc', 'crun']) mkdirSync(join(home, name), { recursive: true, mode: 0o711 })
      return bundles
    } finally {
      await container.remove()
    }
  }

  async make(): Promise<PeerBundle> {
    const id = randomId()
    const directory = join(this.home, 'c', id)
    const mounted = join(directory, 'rootfs')
    const { config, overlay } = this.#configOf(id, mounted)
    for (const name of ['rootfs', 'upper', 'work', 'files']) mkdirSync(join(directory, name), { recursive: true, mode: 0o755 })
    const byte = new FirstByte(join(this.#fifoDir, id))
    writeFileSync(join(directory, 'config.json'), JSON.stringify(config))
    const options = overlay.map((o) =>
      o.replace(/^(upper|work)dir=.*/, (_all, which: string) => `${which}dir=${directory}/${which}`)
    )
    await run('mount', ['-t', 'overlay', 'overlay', '-o', options.join(','), mounted])
    let isMounted = true
    const remove = this.#cleanup.add(`the bundle ${directory}`, async () => {
      byte.close()
      if (isMounted) await run('sh', ['-c', '! mountpoint -q "$1" || umount "$1"', 'sh', mounted])
      isMounted = false
      rmSync(directory, { recursive: true, force: true })
    })
    return { id, directory, byte, remove }
  }

  #configOf(id: string, root: string): { readonly config: Config; readonly overlay: readonly string[] } {
    const { text, stateDir, cgroupParent, id: templateId } = this.#template
    const own = text
      .replaceAll(`${stateDir}/agent/sandboxes/${templateId}/files`, join(this.home, 'c', id, 'files'))
      .replaceAll(cgroupParent, this.cgroupParent)
      .replaceAll(templateId, id)
    const config = JSON.parse(own) as Config
    const [first, ...mounts] = config.mounts
    if (first?.destination !== '/') throw new Fault('unsupported', 'hearth no longer mounts the root first; adapt the bench')
    return { config: { ...config, root: { ...config.root, path: root }, mounts }, overlay: first.options ?? [] }
  }
}
