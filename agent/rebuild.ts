import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Provenance, provenanceOf } from './annotations.ts'

/**
 * Where the annotations of a container lie: in its bundle, and in the copies that runc (`state.json`, as labels) and crun
 * (`config.json`) keep for themselves. One that is damaged leaves the others.
 */
const copies = (runDir: string, containerId: string): readonly string[] => [
  join(runDir, 'c', containerId, 'config.json'),
  join(runDir, 'oci/runc', containerId, 'state.json'),
  join(runDir, 'oci/crun', containerId, 'config.json')
]

/** Whose container this is; undefined where no copy proves it. */
export function readProvenance(runDir: string, containerId: string): Provenance | undefined {
  for (const path of copies(runDir, containerId)) {
    const found = provenanceOf(readAnnotations(path), containerId)
    if (found !== undefined) return found
  }
  return undefined
}

function readAnnotations(path: string): Readonly<Record<string, string>> {
  try {
    const text: unknown = JSON.parse(readFileSync(path, 'utf8'))
    return { ...pairs(member(member(text, 'config'), 'labels')), ...strings(member(text, 'annotations')) }
  } catch {
    return {} // not there, or no JSON: it proves nothing
  }
}

const member = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>)[name] : undefined

const strings = (value: unknown): Readonly<Record<string, string>> =>
  typeof value === 'object' && value !== null
    ? Object.fromEntries(Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === 'string'))
    : {}

/** runc turns annotations into labels `name=value`. */
const pairs = (labels: unknown): Readonly<Record<string, string>> =>
  Array.isArray(labels)
    ? Object.fromEntries(
        labels
          .filter((label): label is string => typeof label === 'string')
          .map((label) => [label.slice(0, label.indexOf('=')), label.slice(label.indexOf('=') + 1)])
      )
    : {}

/** The agent and cluster that the bundles of a directory name; undefined where none does, or where they do not agree. */
export function identityOf(
  provenances: Iterable<Provenance>
): { readonly agentId: string; readonly clusterId: string } | undefined {
  let found: { readonly agentId: string; readonly clusterId: string } | undefined
  for (const { agentId, clusterId } of provenances) {
    if (found !== undefined && (found.agentId !== agentId || found.clusterId !== clusterId)) return undefined
    found = { agentId, clusterId }
  }
  return found
}
