import type { ImageRecord } from './image-list.ts'

export interface PruneWish {
  /** For how long an image must not have been used. */
  readonly unusedMs: number
  /** Those too that came in an archive, and cannot be pulled again. */
  readonly imported: boolean
}

export interface PruneFacts {
  readonly nowMs: number
  /** Digests that containers run from, or that are about to be used. */
  readonly inUse: ReadonlySet<string>
  /** 0 where nobody knows. */
  readonly usedAtMs: (digest: string) => number
}

/** What may go, the longest unused first. */
export function prunable(images: readonly ImageRecord[], wish: PruneWish, facts: PruneFacts): readonly ImageRecord[] {
  const lastMs = (image: ImageRecord): number => Math.max(image.importedAtMs, facts.usedAtMs(image.digest))
  return images
    .filter((image) => !facts.inUse.has(image.digest))
    .filter((image) => wish.imported || image.kind === 'registry')
    .filter((image) => facts.nowMs - lastMs(image) >= wish.unusedMs)
    .sort((a, b) => lastMs(a) - lastMs(b))
}

export interface Collected {
  readonly layers: number
  readonly blobs: number
  readonly bytes: number
}

export interface Pruned extends Collected {
  readonly images: readonly string[]
}

/** One after the other, until it is enough. */
export async function pruneEach(
  images: readonly ImageRecord[],
  remove: (image: ImageRecord) => Promise<Collected>,
  isEnough: () => Promise<boolean>,
  signal: AbortSignal
): Promise<Pruned> {
  let sum: Pruned = { images: [], layers: 0, blobs: 0, bytes: 0 }
  for (const image of images) {
    signal.throwIfAborted()
    const { layers, blobs, bytes } = await remove(image)
    sum = {
      images: [...sum.images, image.name],
      layers: sum.layers + layers,
      blobs: sum.blobs + blobs,
      bytes: sum.bytes + bytes
    }
    if (await isEnough()) break
  }
  return sum
}

export interface Room {
  readonly freeBytes: number
  readonly totalBytes: number
}

const gibibyte = 1024 ** 3
/** As in node health, both must hold: a tenth of a large disk is still much. */
const low = { share: 0.1, bytes: 20 * gibibyte }
const enough = { share: 0.15, bytes: 30 * gibibyte }

/** Whether unused images have to make room, and whether they have made enough. */
export const isLow = (room: Room): boolean => isBelow(room, low)
export const isEnough = (room: Room): boolean => !isBelow(room, enough)

const isBelow = ({ freeBytes, totalBytes }: Room, bound: typeof low): boolean =>
  totalBytes > 0 && freeBytes / totalBytes < bound.share && freeBytes < bound.bytes

/** To make room: what can be pulled again, and was not wanted for an hour. */
export const spared: PruneWish = { unusedMs: 3_600_000, imported: false }
