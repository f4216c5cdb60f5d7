import type { ContentFiles } from './content-files.ts'
import type { ImageRecord } from './image-list.ts'
import type { DamagedLayer, LayerToVerify } from './unpack-message.ts'

/** What a look at every byte of an image found. */
export interface Verdict {
  readonly image: string
  readonly digest: string
  /** As many as were looked at. */
  readonly layers: number
  readonly damage: readonly Damage[]
  /** All of the damage was there, and is no more. */
  readonly repaired: boolean
}

export interface Damage {
  /** The digest of a document or of a layer. */
  readonly digest: string
  readonly kind: 'document' | 'layer'
  /** The first of the paths that are not what they were. */
  readonly paths: readonly string[]
  readonly count: number
}

/** A layer can lose a few files or all of itself; it comes anew as a whole either way. */
export const digestsOf = (damage: readonly Damage[]): readonly string[] => damage.map(({ digest }) => digest)

/** `compare` looks at layers that have a list of their contents; those of earlier versions can only be counted. */
export async function damageOf(
  files: ContentFiles,
  record: ImageRecord,
  compare: (layers: readonly LayerToVerify[]) => Promise<readonly DamagedLayer[]>
): Promise<readonly Damage[]> {
  const damage: Damage[] = []
  for (const digest of await files.damagedDocuments(record)) damage.push({ digest, kind: 'document', paths: [], count: 1 })
  const layers = [...new Map(record.layers.map((layer) => [layer.diffId, layer])).values()]
  const listed: LayerToVerify[] = []
  for (const layer of layers) {
    const { diffId, contents } = layer
    if (contents !== undefined) listed.push({ diffId, directory: files.layerPath(diffId), contents })
    else if (!(await files.isComplete(layer))) damage.push({ digest: diffId, kind: 'layer', paths: [], count: 1 })
  }
  const found = listed.length === 0 ? [] : await compare(listed)
  return [
    ...damage,
    ...found.map(({ diffId, paths, damaged }): Damage => ({ digest: diffId, kind: 'layer', paths, count: damaged }))
  ]
}
