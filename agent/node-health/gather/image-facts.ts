import { createHash } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { ImageStoreFacts } from '../checks/images.ts'
import { readIfThere } from './roots.ts'

/** So much is looked at in one go; the next look begins where this one ended. */
const mostParts = 200

interface Part {
  readonly image: string
  readonly kind: 'document' | 'layer'
  readonly name: string
}

/**
 * Compares images.json with the files of the store: each document against its digest, each layer by its folder. `from` turns
 * the rounds: with more than 200 parts every look takes the next ones.
 */
export async function readImageStore(directory: string, from: number): Promise<ImageStoreFacts> {
  const aside = join(directory, 'images.json.damaged')
  const damagedList = (await readIfThere(aside)) === undefined ? undefined : aside
  const list = partsOf((await readIfThere(join(directory, 'images.json'))) ?? '{"images": []}')
  if (list === undefined) {
    return { damagedList, images: 0, looked: 0, parts: 0, faults: [`${join(directory, 'images.json')} is not what was written`] }
  }
  const { images, parts } = list
  const start = parts.length === 0 ? 0 : (from * mostParts) % parts.length
  const turn = [...parts.slice(start), ...parts.slice(0, start)].slice(0, mostParts)
  const faults: string[] = []
  for (const part of turn) {
    const fault = await faultOf(directory, part)
    if (fault !== undefined) faults.push(`image ${part.image}: ${fault}`)
  }
  return { damagedList, images, looked: turn.length, parts: parts.length, faults }
}

/** Undefined for a list that is not ours; its rows may be anything. */
function partsOf(text: string): { readonly images: number; readonly parts: readonly Part[] } | undefined {
  try {
    const { images } = JSON.parse(text) as { readonly images: readonly Record<string, unknown>[] }
    const parts = images.flatMap((row): readonly Part[] => {
      const image = String(row['name'])
      const documents = [row['digest'], row['configDigest']].map((d) => ({ image, kind: 'document', name: hexOf(d) }) as const)
      const layers = (row['layers'] as readonly Record<string, unknown>[]).map(
        (layer) => ({ image, kind: 'layer', name: hexOf(layer['diffId']) }) as const
      )
      return [...documents, ...layers]
    })
    const unique = new Map(parts.map((part) => [`${part.kind} ${part.name}`, part]))
    return { images: images.length, parts: [...unique.values()] }
  } catch {
    // The row says that the list is damaged.
    return undefined
  }
}

const hexOf = (digest: unknown): string => /^sha256:([0-9a-f]{64})$/.exec(String(digest))?.[1] ?? ''

async function faultOf(directory: string, { kind, name }: Part): Promise<string | undefined> {
  if (name === '') return 'its row names a digest that is none'
  if (kind === 'layer') {
    const folder = await stat(join(directory, 'layers', name)).catch(() => undefined) // told as missing
    return folder?.isDirectory() === true ? undefined : `layer ${name.slice(0, 12)} is missing`
  }
  const bytes = await readFile(join(directory, 'blobs/sha256', name)).catch(() => undefined) // told as missing
  if (bytes === undefined) return `document ${name.slice(0, 12)} is missing`
  const seen = createHash('sha256').update(bytes).digest('hex')
  return seen === name ? undefined : `document ${name.slice(0, 12)} is not what it was`
}
