import { Fault } from '../../base/fault.ts'

const component = '[a-z0-9]+(?:(?:\\.|_{1,2}|-+)[a-z0-9]+)*'
const namePattern = new RegExp(`^(?:[a-z0-9.-]+:[0-9]{1,5}/)?${component}(?:/${component})*$`)
const tagPattern = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/
const digestPattern = /^sha256:[0-9a-f]{64}$/
const maxReferenceBytes = 255
/** Where names without a registry come from: tools write it before them, people do not. */
const usualRegistry = /^(?:docker\.io\/)+(?:library\/(?=[^/]+$))?/

/** The image that every node has without an import. */
export const hostImageName = 'host'

export const isDigest = (text: string): boolean => digestPattern.test(text)

/**
 * The one name by which the store knows an image: `debian`, `debian:latest` and `docker.io/library/debian` are the same. Undefined
 * for a text that is no image name.
 */
export function canonicalReference(text: string): string | undefined {
  const short = text.replace(usualRegistry, '')
  const colon = short.lastIndexOf(':')
  const tagged = colon > short.lastIndexOf('/')
  const name = tagged ? short.slice(0, colon) : short
  const tag = tagged ? short.slice(colon + 1) : 'latest'
  if (text.length > maxReferenceBytes || !namePattern.test(name) || !tagPattern.test(tag)) return undefined
  return `${name}:${tag}`
}

/** As `canonicalReference`. Throws `Fault('invalid')` for a text that is no image name. */
export function normalizeReference(text: string): string {
  const name = canonicalReference(text)
  if (name !== undefined) return name
  throw new Fault(
    'invalid',
    `${JSON.stringify(text.slice(0, 80))} is no image name: use lower-case letters, digits and . _ - / in the name, then :tag where wanted`
  )
}

/** For the name of a new image: as `normalizeReference`, and not the name of the built-in one. */
export function newImageName(text: string): string {
  const name = normalizeReference(text)
  if (name.slice(0, name.lastIndexOf(':')) === hostImageName) {
    throw new Fault('invalid', `the name ${hostImageName} belongs to the built-in image: choose another name`)
  }
  return name
}
