import { Fault } from '../../base/fault.ts'

const component = '[a-z0-9]+(?:(?:\\.|_{1,2}|-+)[a-z0-9]+)*'
const namePattern = new RegExp(`^(?:[a-z0-9.-]+:[0-9]{1,5}/)?${component}(?:/${component})*$`)
const tagPattern = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/
const digestPattern = /^sha256:[0-9a-f]{64}$/
const maxReferenceBytes = 255

/** The image that every node has without an import. */
export const hostImageName = 'host'

export const isDigest = (text: string): boolean => digestPattern.test(text)

/** `debian` and `debian:latest` are the same image; what comes back carries its tag. Throws `Fault('invalid')`. */
export function normalizeReference(text: string): string {
  const colon = text.lastIndexOf(':')
  const tagged = colon > text.lastIndexOf('/')
  const name = tagged ? text.slice(0, colon) : text
  const tag = tagged ? text.slice(colon + 1) : 'latest'
  if (text.length > maxReferenceBytes || !namePattern.test(name) || !tagPattern.test(tag)) {
    throw new Fault(
      'invalid',
      `${JSON.stringify(text.slice(0, 80))} is no image name: use lower-case letters, digits and . _ - / in the name, then :tag where wanted`
    )
  }
  return `${name}:${tag}`
}

/** For the name of a new image: as `normalizeReference`, and not the name of the built-in one. */
export function newImageName(text: string): string {
  const name = normalizeReference(text)
  if (name.slice(0, name.lastIndexOf(':')) === hostImageName) {
    throw new Fault('invalid', `the name ${hostImageName} belongs to the built-in image: choose another name`)
  }
  return name
}
