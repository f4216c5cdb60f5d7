import { readFile } from 'node:fs/promises'
import { replaceFile } from '../../base/replace-file.ts'

interface BootFile {
  readonly bootId: string
  /** The agent of that boot ended in order, as it does where the machine is shut down. */
  readonly clean: boolean
  readonly suspect: readonly string[]
}

/**
 * Layers of which a machine that went down without a word may have lost bytes: all that were there then. Each is looked at before it
 * is used again. (Layers are on the disk before they are published; but disks lie, and file systems repair themselves by leaving out.)
 */
export class Suspicion {
  readonly #path: string
  readonly #bootId: string
  readonly #suspect: Set<string>

  private constructor(path: string, bootId: string, suspect: ReadonlySet<string>) {
    this.#path = path
    this.#bootId = bootId
    this.#suspect = new Set(suspect)
  }

  /** `layers`: the digests of all that are there now. */
  static async open(path: string, bootId: string, layers: readonly string[]): Promise<Suspicion> {
    const before = bootFileIn(await readFile(path, 'utf8').catch(() => ''))
    const isKnown = before !== undefined && (before.clean || before.bootId === bootId)
    const found = isKnown ? layers.filter((digest) => before.suspect.includes(digest)) : layers
    const suspicion = new Suspicion(path, bootId, new Set(found))
    await suspicion.#save(false)
    return suspicion
  }

  some(layers: readonly string[]): boolean {
    return layers.some((digest) => this.#suspect.has(digest))
  }

  /** They were looked at. */
  async clear(layers: readonly string[]): Promise<void> {
    const cleared = layers.filter((digest) => this.#suspect.delete(digest))
    if (cleared.length > 0) await this.#save(false)
  }

  /** The agent ends in order. */
  close(): Promise<void> {
    return this.#save(true)
  }

  async #save(clean: boolean): Promise<void> {
    const file: BootFile = { bootId: this.#bootId, clean, suspect: [...this.#suspect] }
    await replaceFile(this.#path, `${JSON.stringify(file)}\n`)
  }
}

/** Undefined for a file that says nothing, as before the first start: then everything is looked at once. */
function bootFileIn(text: string): BootFile | undefined {
  try {
    const { bootId, clean, suspect } = JSON.parse(text) as Partial<BootFile>
    if (typeof bootId !== 'string' || typeof clean !== 'boolean' || !Array.isArray(suspect)) return undefined
    return { bootId, clean, suspect: suspect.filter((digest) => typeof digest === 'string') }
  } catch {
    return undefined
  }
}
