import { lstatSync, readlinkSync } from 'node:fs'
import { chmod, mkdir, readdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf, Fault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import { randomId } from '../../base/random.ts'
import { syncDirectory } from '../../base/replace-file.ts'
import type { OciMount } from '../../isolators/isolator.ts'
import type { ResolvedImage } from '../ports.ts'
import { hostFingerprint, writeHostEtc } from './host-etc.ts'
import { hostImageName } from './reference.ts'

/** Raised when the generated tree changes its form, so that a new agent does not use an old one's. */
const generation = 1

const programFolders = ['bin', 'sbin', 'lib', 'lib32', 'lib64', 'libx32']
const emptyFolders = [
  'usr',
  'dev',
  'proc',
  'sys',
  'run',
  'home',
  'mnt',
  'media',
  'opt',
  'srv',
  'var',
  'var/cache',
  'var/lib',
  'var/log'
]
const openFolders = ['tmp', 'var/tmp']
const defaultPath = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

interface HostImageParts {
  readonly log: Log
}

interface HostImageConfig {
  /** Where the generated trees lie, one folder for each fingerprint. */
  readonly directory: string
  readonly hostRoot: string
}

/** The built-in image `host`: the host's programs read-only, an /etc made from an allow-list, and nothing else of the host. */
export class HostImage {
  readonly #log: Log
  readonly #directory: string
  readonly #hostRoot: string
  readonly #making = new Map<string, Promise<string>>()
  #known: ResolvedImage | undefined

  constructor(parts: HostImageParts, config: HostImageConfig) {
    this.#log = parts.log
    this.#directory = config.directory
    this.#hostRoot = config.hostRoot
  }

  async resolve(): Promise<ResolvedImage> {
    const fingerprint = hostFingerprint(this.#hostRoot, `${generation}`)
    const digest = `sha256:${fingerprint}`
    if (this.#known?.digest === digest && (await isDirectory(this.#known.layers[0]))) return this.#known
    const layer = await this.#layer(fingerprint)
    this.#known = {
      reference: hostImageName,
      digest,
      layers: [layer],
      mounts: await this.#mounts(),
      entrypoint: [],
      command: [],
      environment: [defaultPath],
      workingDirectory: '/',
      user: '',
      stopSignal: ''
    }
    return this.#known
  }

  /** Removes the trees of earlier fingerprints that no container uses; tells how many. */
  async collect(inUse: ReadonlySet<string>): Promise<number> {
    const current = this.#known?.digest ?? ''
    let removed = 0
    for (const name of await readdir(this.#directory)) {
      const digest = `sha256:${name}`
      if (digest === current || inUse.has(digest) || this.#making.has(name) || name.includes('.')) continue
      await rm(join(this.#directory, name), { recursive: true, force: true })
      removed += 1
    }
    return removed
  }

  #layer(fingerprint: string): Promise<string> {
    const running = this.#making.get(fingerprint)
    if (running !== undefined) return running
    const made = this.#make(fingerprint).finally(() => this.#making.delete(fingerprint))
    this.#making.set(fingerprint, made)
    return made
  }

  async #make(fingerprint: string): Promise<string> {
    const final = join(this.#directory, fingerprint)
    if (await isDirectory(final)) return final
    const draft = join(this.#directory, `${fingerprint}.${randomId()}`)
    try {
      await mkdir(draft, { mode: 0o755 })
      await this.#fill(draft)
      await rename(draft, final)
      await syncDirectory(this.#directory)
    } catch (e) {
      await rm(draft, { recursive: true, force: true })
      if (errnoOf(e) === 'ENOSPC')
        throw new Fault('exhausted', `no space left below ${this.#directory} for the image host`, {}, e)
      throw e
    }
    this.#log.info({ digest: `sha256:${fingerprint}` }, 'image.host_generated')
    return final
  }

  async #fill(draft: string): Promise<void> {
    await chmod(draft, 0o755)
    for (const folder of emptyFolders) await makeFolder(join(draft, folder), 0o755)
    for (const folder of openFolders) await makeFolder(join(draft, folder), 0o1777)
    await makeFolder(join(draft, 'root'), 0o700)
    for (const folder of programFolders) {
      const link = this.#usrLink(folder)
      if (link !== undefined) await symlink(link, join(draft, folder))
      else if (await isDirectory(join(this.#hostRoot, folder))) await makeFolder(join(draft, folder), 0o755)
    }
    await writeHostEtc(this.#hostRoot, draft)
  }

  /** The link as the host has it (`bin -> usr/bin`), where it leads into /usr. */
  #usrLink(folder: string): string | undefined {
    const path = join(this.#hostRoot, folder)
    if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() !== true) return undefined
    const target = readlinkSync(path)
    return /^\/?usr\/[A-Za-z0-9_/-]+$/.test(target) ? target : undefined
  }

  /**
   * Plain binds, and one of its own for each file system mounted below: `ro` of a recursive bind covers only its top in runc 1.1, so
   * `rbind` would leave the ones below writable.
   */
  async #mounts(): Promise<readonly OciMount[]> {
    const folders = programFolders.filter(
      (folder) =>
        this.#usrLink(folder) === undefined && lstatSync(join(this.#hostRoot, folder), { throwIfNoEntry: false }) !== undefined
    )
    const tops = ['/usr', ...folders.map((folder) => `/${folder}`)]
    const below = await mountPointsBelow(tops.map((top) => join(this.#hostRoot, top)))
    const nested = below.map((point) => (this.#hostRoot === '/' ? point : point.slice(this.#hostRoot.length)))
    return [...tops, ...nested].map((path) => ({
      destination: path,
      type: 'bind',
      source: join(this.#hostRoot, path),
      options: ['bind', 'ro', 'nosuid', 'nodev', 'rprivate']
    }))
  }
}

async function makeFolder(path: string, mode: number): Promise<void> {
  await mkdir(path)
  await chmod(path, mode)
}

const isDirectory = async (path: string | undefined): Promise<boolean> =>
  path !== undefined &&
  (await stat(path).then(
    (stats) => stats.isDirectory(),
    () => false
  ))

/** Field 5 of /proc/self/mountinfo (proc_pid_mountinfo(5)), shortest first. */
async function mountPointsBelow(folders: readonly string[]): Promise<string[]> {
  const points = (await readFile('/proc/self/mountinfo', 'utf8'))
    .split('\n')
    .map((line) =>
      (line.split(' ')[4] ?? '').replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
    )
    .filter((point) => folders.some((folder) => point.startsWith(`${folder}/`)))
  return [...new Set(points)].sort((a, b) => a.length - b.length)
}
