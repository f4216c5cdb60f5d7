import { statSync } from 'node:fs'
import { join } from 'node:path'
import { isShiftedView } from '../images/shifted-views.ts'
import type { Seen } from './compare.ts'
import { namesIn, textOf } from './read-host.ts'

/** The image store against itself: its list and its documents own its layers. */

const digestForm = /^sha256:([0-9a-f]{64})$/
/** No configuration of an image is larger; what is, is none. */
const mostDocumentBytes = 4 * 1024 * 1024

type StorePlace = { readonly stateDir: string }

interface ListedImage {
  readonly name: string
  readonly layers: readonly { readonly diffId: string; readonly link: string }[]
}

/**
 * Those that neither the list of images nor a document of the store names. What an image that lost its name leaves is known by
 * its documents until it is collected, and is no orphan.
 */
export function* layers({ stateDir }: StorePlace): Iterable<Seen> {
  const store = storeOf(stateDir)
  const names = namesIn(join(store, 'layers')).filter((name) => !/\.(json|contents)$/.test(name))
  if (names.length === 0) return
  const named = new Set([...listOf(store).flatMap((image) => image.layers.map((l) => hexOf(l.diffId))), ...inDocuments(store)])
  for (const name of names) {
    const isOurs = /^[0-9a-f]{64}$/.test(name) || 'its name is no layer’s, so that nothing proves whose it is'
    const seen = { kind: 'layer', id: join(store, 'layers', name), containerId: '', isOurs } as const
    yield named.has(name) ? { ...seen, isOwned: true } : { ...seen, odd: 'no image and no document of the store names it' }
  }
}

/** Layers as ranges of ids have them (agent/images/shifted-views.ts): each belongs to its layer. */
export function* shiftedViews({ stateDir }: StorePlace): Iterable<Seen> {
  const store = storeOf(stateDir)
  const hosts = namesIn(join(store, 'hosts'))
  for (const range of namesIn(join(store, 'views'))) {
    const names = namesIn(join(store, 'views', range)).map((name) => name.replace(/\.json$/, ''))
    for (const name of new Set(names)) {
      const id = join(store, 'views', range, name)
      const isOurs = isShiftedView(id) || 'its name is no view’s, so that nothing proves whose it is'
      const seen = { kind: 'shifted_view', id, containerId: '', isOurs } as const
      const isOwned = isThere(join(store, 'l', name)) || hosts.some((host) => name === `host-${host.slice(0, 12)}`)
      yield isOwned ? { ...seen, isOwned } : { ...seen, odd: 'its layer is gone' }
    }
  }
}

/** Each with what it lacks. */
export function* images({ stateDir }: StorePlace): Iterable<Seen> {
  const store = storeOf(stateDir)
  for (const { name, layers: wanted } of listOf(store)) {
    const lacking = wanted.find(
      ({ diffId, link }) => !isThere(join(store, 'layers', hexOf(diffId) || '?'), join(store, 'l', link))
    )
    const seen = { kind: 'image', id: name, containerId: '', isOurs: true, isOwned: true } as const
    if (lacking === undefined) yield seen
    else {
      const odd = `its layer ${hexOf(lacking.diffId).slice(0, 12)} is missing: hearth image rm ${name}, then import it again`
      yield { ...seen, odd }
    }
  }
}

const storeOf = (stateDir: string): string => join(stateDir, 'agent/images')
const hexOf = (digest: string): string => digestForm.exec(digest)?.[1] ?? ''

function isThere(...paths: readonly string[]): boolean {
  return paths.every((path) => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true)
}

/** Rows that are none are left out: the health of the store tells of a damaged list. */
function listOf(store: string): readonly ListedImage[] {
  const { images: rows } = parsed(textOf(join(store, 'images.json')))
  if (!Array.isArray(rows)) return []
  return (rows as readonly Partial<ListedImage>[]).flatMap((row) => {
    if (typeof row?.name !== 'string' || !Array.isArray(row.layers)) return []
    const sound = row.layers.filter((l) => typeof l?.diffId === 'string' && typeof l.link === 'string')
    return [{ name: row.name, layers: sound }]
  })
}

/** OCI image-spec, config: `rootfs.diff_ids` names an image's layers. */
function* inDocuments(store: string): Iterable<string> {
  const directory = join(store, 'blobs/sha256')
  for (const name of namesIn(directory)) {
    const path = join(directory, name)
    if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > mostDocumentBytes) continue
    const { rootfs } = parsed(textOf(path))
    const { diff_ids: digests } = (typeof rootfs === 'object' && rootfs !== null ? rootfs : {}) as { diff_ids?: unknown }
    if (Array.isArray(digests)) yield* digests.map((digest) => hexOf(String(digest)))
  }
}

function parsed(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {}
  } catch {
    return {} // no document: it names nothing
  }
}
