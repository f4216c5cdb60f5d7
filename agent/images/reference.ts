import { Fault } from '../../base/fault.ts'
import { canonicalReference, isDigest } from '../../proto/image-name.ts'

/** The image that every node has without an import. */
export const hostImageName = 'host'

/** As `canonicalReference`. Throws `Fault('invalid')` for a text that is no image name. */
export function normalizeReference(text: string): string {
  const name = canonicalReference(text)
  if (name !== undefined) return name
  throw new Fault(
    'invalid',
    `${JSON.stringify(text.slice(0, 80))} is no image name: use lower-case letters, digits and . _ - / in the name, then :tag or @sha256:… where wanted`
  )
}

/** For the name of a new image: as `normalizeReference`, and not the name of the built-in one. */
export function newImageName(text: string): string {
  const name = normalizeReference(text)
  if (/^[^:@]*/.exec(name)?.[0] === hostImageName) {
    throw new Fault('invalid', `the name ${hostImageName} belongs to the built-in image: choose another name`)
  }
  return name
}

/** As `newImageName`, for an image that a registry has. */
export function pulledName(reference: string): string {
  if (!isDigest(reference)) return newImageName(reference)
  throw new Fault(
    'invalid',
    'a digest alone does not say which registry has the image: name it too, as in registry.example/name@sha256:…'
  )
}
