import { readFileSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { errnoOf, Fault } from '../base/fault.ts'
import type { Isolator } from './isolator.ts'

/** What a module gets of the agent; and the version of the contract that it is called by. */
export interface IsolatorHost {
  readonly contract: 1
  sleep(ms: number, signal: AbortSignal): Promise<void>
}

/** A module exports it as `createIsolator`, and `contract = 1` beside it. */
export type CreateIsolator = (host: IsolatorHost) => Isolator | Promise<Isolator>

export const contractVersion = 1
const loadWithinMs = 10_000

/**
 * An isolator of a npm module, installed below `directory/node_modules`, or of a file or folder by its absolute path. Throws
 * `Fault('invalid')` with what is wrong with the module and what to do.
 */
export async function loadIsolator(module: string, directory: string, host: Omit<IsolatorHost, 'contract'>): Promise<Isolator> {
  const refuse = (why: string, cause?: unknown): Fault =>
    new Fault('invalid', `isolator module ${module}: ${why}`, { module }, cause)
  const path = isAbsolute(module) ? entryOf(module, refuse) : entryOf(join(directory, 'node_modules', module), refuse)
  const loading = async (): Promise<Isolator> => {
    const exported = (await importOf(pathToFileURL(path).href).catch((e: unknown) => {
      throw refuse(`${path} cannot be loaded: ${e instanceof Error ? e.message : String(e)}`, e)
    })) as Readonly<Record<string, unknown>>
    const { createIsolator, contract } = { ...(exported['default'] as object | undefined), ...exported } as Readonly<
      Record<string, unknown>
    >
    if (typeof createIsolator !== 'function') throw refuse('it must export a function createIsolator')
    if (contract !== contractVersion)
      throw refuse(`it must export contract = ${contractVersion}, the version it was written for, not ${String(contract)}`)
    return (createIsolator as CreateIsolator)({ ...host, contract: contractVersion })
  }
  const over = new AbortController()
  const late = host.sleep(loadWithinMs, over.signal).then(() => {
    throw refuse(`it was not ready within ${loadWithinMs / 1_000} s`)
  })
  try {
    const isolator: unknown = await Promise.race([
      loading().catch((e: unknown) => {
        throw e instanceof Fault ? e : refuse(`createIsolator failed: ${e instanceof Error ? e.message : String(e)}`, e)
      }),
      late
    ])
    return checked(isolator, refuse)
  } finally {
    over.abort()
    late.catch(() => undefined) // ended above
  }
}

/**
 * A program whose machine code comes out of V8's cache cannot import by itself: who started it lends its own way
 * (setup/cached-start.cjs).
 */
export function importOf(url: string): Promise<unknown> {
  const { hearthImport } = globalThis as { readonly hearthImport?: (url: string) => Promise<unknown> }
  return hearthImport === undefined ? import(url) : hearthImport(url)
}

const required = ['capabilities', 'prepare', 'cleanup'] as const
const optional = ['isolate', 'watch', 'update', 'usage', 'recover'] as const
const placeKeys = ['after', 'before', 'needs', 'conflicts']

function checked(made: unknown, refuse: (why: string) => Fault): Isolator {
  if (typeof made !== 'object' || made === null) throw refuse('createIsolator must give an isolator')
  const isolator = made as Partial<Record<keyof Isolator, unknown>>
  if (typeof isolator.name !== 'string') throw refuse('its isolator has no name')
  for (const step of required) if (typeof isolator[step] !== 'function') throw refuse(`its isolator has no function ${step}`)
  for (const step of optional) {
    if (isolator[step] !== undefined && typeof isolator[step] !== 'function')
      throw refuse(`${step} of its isolator is no function`)
  }
  const isNames = (value: unknown): boolean => Array.isArray(value) && value.every((name) => typeof name === 'string')
  for (const [key, value] of Object.entries((isolator.place ?? {}) as object)) {
    if (!placeKeys.includes(key) || !isNames(value))
      throw refuse(`place.${key} is not one of ${placeKeys.join(', ')} with a list of names`)
  }
  return made as Isolator
}

interface Manifest {
  readonly main?: unknown
  readonly exports?: unknown
}

/** Where a module begins: a file is itself; of a package what `exports` or `main` says (Node's documentation, "Packages"). */
function entryOf(path: string, refuse: (why: string, cause?: unknown) => Fault): string {
  if (/\.(m?js|cjs)$/.test(path)) return path
  let manifest: Manifest
  try {
    manifest = JSON.parse(readFileSync(join(path, 'package.json'), 'utf8')) as Manifest
  } catch (e) {
    const why = errnoOf(e) === 'ENOENT' ? 'is not there' : 'cannot be read'
    throw refuse(`${path}/package.json ${why}; install the module with npm install --prefix, or give the path of its file`, e)
  }
  const root = manifest.exports
  const main = typeof root === 'object' && root !== null && '.' in root ? root['.'] : root
  return join(path, conditional(main) ?? (typeof manifest.main === 'string' ? manifest.main : 'index.js'))
}

function conditional(target: unknown): string | undefined {
  if (typeof target === 'string') return target
  if (typeof target !== 'object' || target === null) return undefined
  const found = Object.entries(target).find(([condition]) => ['node', 'import', 'default'].includes(condition))
  return found === undefined ? undefined : conditional(found[1])
}
