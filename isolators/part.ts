import { Fault } from '../base/fault.ts'
import type { BundlePart } from './isolator.ts'

/** What may be in a part of the bundle, and how it is merged. */

type Shape = (value: unknown) => string | undefined

const text: Shape = (value) => (typeof value === 'string' && !value.includes('\0') ? undefined : 'a text without zero bytes')
const flag: Shape = (value) => (typeof value === 'boolean' ? undefined : 'true or false')
const whole: Shape = (value) => (Number.isSafeInteger(value) && Number(value) >= 0 ? undefined : 'a whole number')
const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
const json: Shape = (value) => {
  try {
    return isObject(value) && JSON.stringify(value).length > 0 ? undefined : 'an object'
  } catch {
    return 'an object that JSON can hold'
  }
}
const listOf =
  (shape: Shape): Shape =>
  (value) => {
    if (!Array.isArray(value)) return 'a list'
    const wrong = value.map(shape).find((complaint) => complaint !== undefined)
    return wrong === undefined ? undefined : `a list whose items are each ${wrong}`
  }
const object =
  (shapes: Readonly<Record<string, Shape>>, optional: readonly string[] = []): Shape =>
  (value) => {
    if (!isObject(value)) return 'an object'
    for (const [key, shape] of Object.entries(shapes)) {
      if (value[key] === undefined && optional.includes(key)) continue
      const complaint = shape(value[key])
      if (complaint !== undefined) return `an object whose ${key} is ${complaint}`
    }
    return undefined
  }

interface Field {
  readonly shape: Shape
  /** `one`: only one isolator may set it. `list`: joined in the order of the isolators. */
  readonly merge: 'one' | 'list'
}

const one = (shape: Shape): Field => ({ shape, merge: 'one' })
const list = (shape: Shape): Field => ({ shape: listOf(shape), merge: 'list' })
const mount = object({ destination: text, type: text, source: text, options: listOf(text) })
const mapping = object({ containerID: whole, hostID: whole, size: whole })

/** Every field of a part; another joins by a row here, one in isolator.ts and its use in runtime/oci/spec.ts. */
const fields: Readonly<Record<keyof BundlePart, Field>> = {
  env: list(text),
  mounts: list(mount),
  namespaces: list(object({ type: text, path: text }, ['path'])),
  idMappings: one(listOf(mapping)),
  cgroupsPath: one(text),
  resources: one(json),
  capabilities: one(listOf(text)),
  ambientCapabilities: one(listOf(text)),
  seccomp: one(json),
  maskedPaths: list(text),
  readonlyPaths: list(text),
  rlimits: list(object({ type: text, hard: whole, soft: whole })),
  noNewPrivileges: one(flag),
  devices: list(json),
  deviceRules: list(json),
  sysctl: one(json),
  apparmorProfile: one(text),
  rootPath: one(text),
  rootReadonly: one(flag),
  notices: list(text)
}

const maxPartBytes = 1024 * 1024

/** What is wrong with what an isolator gave for its part; undefined where it is sound. */
export function unfitPart(part: unknown): string | undefined {
  if (!isObject(part)) return `gave ${part === null ? 'null' : typeof part} for its part of the bundle: it must be an object`
  for (const [key, value] of Object.entries(part)) {
    if (value === undefined) continue
    if (!Object.hasOwn(fields, key)) return `set ${JSON.stringify(key.slice(0, 40))}, which no part of a bundle has`
    const complaint = fields[key as keyof BundlePart].shape(value)
    if (complaint !== undefined) return `must give ${complaint} for ${key}`
  }
  const bytes = JSON.stringify(part).length
  return bytes > maxPartBytes ? `gave ${bytes} bytes for its part of the bundle, more than ${maxPartBytes}` : undefined
}

export interface NamedPart {
  readonly isolator: string
  readonly part: BundlePart
}

/** Throws `Fault('invalid')` where two isolators set the same thing, with both of their names. */
export function checkTogether(parts: readonly NamedPart[]): void {
  const setters = new Map<string, string>()
  const set = (what: string, isolator: string): void => {
    const other = setters.get(what)
    if (other !== undefined) {
      const say = `the isolators ${other} and ${isolator} both set ${what} of the container: leave one of them out, or change it`
      throw new Fault('invalid', say, { reason: 'launch_failed' })
    }
    setters.set(what, isolator)
  }
  for (const { isolator, part } of parts) {
    for (const [key, { merge }] of Object.entries(fields)) {
      if (merge === 'one' && part[key as keyof BundlePart] !== undefined) set(key, isolator)
    }
    for (const { type } of part.namespaces ?? []) set(`the ${type} namespace`, isolator)
    for (const { type } of part.rlimits ?? []) set(type, isolator)
  }
}
