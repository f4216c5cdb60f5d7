import type { Random } from '../../base/random.ts'

export const sectorBytes = 512

/** One file: what a reader sees, what is really on the disk, and which sectors differ because nobody has synced them. */
export class Platter {
  /** As the page cache shows it. */
  bytes = Buffer.alloc(0)
  /** As the disk has it. */
  durable = Buffer.alloc(0)
  readonly #dirty = new Set<number>()

  write(bytes: Uint8Array, position: number): void {
    const end = position + bytes.length
    if (end > this.bytes.length) this.bytes = grown(this.bytes, end)
    this.bytes.set(bytes, position)
    for (let s = Math.floor(position / sectorBytes); s * sectorBytes < end; s++) this.#dirty.add(s)
  }

  sync(): void {
    if (this.durable.length < this.bytes.length) this.durable = grown(this.durable, this.bytes.length)
    for (const sector of this.#dirty) this.#store(sector)
    this.#dirty.clear()
  }

  /** The kernel marks the pages clean and drops the data: what a reader sees now is not on the disk, and no later sync brings it. */
  failToSync(): void {
    this.#dirty.clear()
  }

  /** The power goes: of each sector that nobody synced the old or the new content is there. */
  losePower(random: Random): void {
    for (const sector of this.#dirty) if (random.between(0, 1) === 0) this.#store(sector)
    this.#dirty.clear()
    this.bytes = Buffer.from(this.durable)
  }

  flipBit(at: number): void {
    if (at >= this.durable.length) return
    this.durable[at] = (this.durable[at] ?? 0) ^ 1
    this.bytes = Buffer.from(this.durable)
  }

  /** A write that went astray, or never happened though the disk said so: the sector is as it was before its first use. */
  loseSector(sector: number): void {
    this.durable.fill(0, sector * sectorBytes, (sector + 1) * sectorBytes)
    this.bytes = Buffer.from(this.durable)
  }

  #store(sector: number): void {
    const from = sector * sectorBytes
    const to = Math.min(this.bytes.length, from + sectorBytes)
    if (to > this.durable.length) this.durable = grown(this.durable, to)
    this.bytes.copy(this.durable, from, from, to)
  }
}

function grown(bytes: Buffer, length: number): Buffer<ArrayBuffer> {
  const more = Buffer.alloc(length)
  bytes.copy(more)
  return more
}

type NameChange = (names: Map<string, Platter>) => void

/** All files of one master: they outlive its processes. Names are durable in the order in which they changed. */
export class Platters {
  /** As a reader sees them. */
  readonly names = new Map<string, Platter>()
  #durableNames = new Map<string, Platter>()
  #changes: NameChange[] = []

  change(change: NameChange): void {
    change(this.names)
    this.#changes.push(change)
  }

  syncNames(): void {
    for (const change of this.#changes) change(this.#durableNames)
    this.#changes = []
  }

  losePower(random: Random): void {
    const kept = random.between(0, this.#changes.length)
    for (const change of this.#changes.slice(0, kept)) change(this.#durableNames)
    this.#changes = []
    this.names.clear()
    for (const [name, platter] of this.#durableNames) {
      platter.losePower(random)
      this.names.set(name, platter)
    }
  }
}
