/** How images are called: by the store, by registries, by the patterns of policies. Pure. */

const component = '[a-z0-9]+(?:(?:\\.|_{1,2}|-+)[a-z0-9]+)*'
const pathPattern = new RegExp(`^${component}(?:/${component})*$`)
const hostPattern = /^(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?$/
const tagPattern = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/
const digestPattern = /^sha256:[0-9a-f]{64}$/
const maxNameBytes = 255
/** Where names without a registry come from: tools write it before them, people do not. */
const usualRegistry = /^(?:(?:index\.)?docker\.io\/)+(?:library\/(?=[^/]+$))?/

export const isDigest = (text: string): boolean => digestPattern.test(text)

/**
 * The one name by which the store knows an image: `debian`, `debian:latest` and `docker.io/library/debian` are the same. A digest
 * stands in the place of the tag, for it says more. Undefined for a text that is no image name.
 */
export function canonicalReference(text: string): string | undefined {
  const at = text.indexOf('@')
  const digest = at < 0 ? '' : text.slice(at + 1)
  const short = lowerHost(at < 0 ? text : text.slice(0, at)).replace(usualRegistry, '')
  const colon = short.lastIndexOf(':')
  const tagged = colon > short.lastIndexOf('/')
  const name = tagged ? short.slice(0, colon) : short
  const tag = tagged ? short.slice(colon + 1) : 'latest'
  if (name.length > maxNameBytes || !isName(name) || !tagPattern.test(tag)) return undefined
  if (at < 0) return `${name}:${tag}`
  return isDigest(digest) ? `${name}@${digest}` : undefined
}

/** Where an image lies, as registries name it (distribution-spec 1.1, "Pulling manifests"). */
export interface RemoteName {
  /** Host and port. */
  readonly registry: string
  readonly repository: string
  /** A tag or a digest. */
  readonly reference: string
  /** Where the reference is one. */
  readonly digest: string | undefined
}

export const dockerHub = 'docker.io'

/** Docker's rule: the first part is a registry where it has a dot or a port or is `localhost`; else the image is Docker Hub's. */
export function remoteNameOf(canonical: string): RemoteName {
  const at = canonical.indexOf('@')
  const digest = at < 0 ? undefined : canonical.slice(at + 1)
  const end = at < 0 ? canonical.lastIndexOf(':') : at
  const name = canonical.slice(0, end)
  const reference = digest ?? canonical.slice(end + 1)
  const [first = '', ...rest] = name.split('/')
  if (rest.length > 0 && isHost(first)) return { registry: first, repository: rest.join('/'), reference, digest }
  return { registry: dockerHub, repository: rest.length === 0 ? `library/${name}` : name, reference, digest }
}

/**
 * All the ways to write one image that a pattern may have been written for: in short, with its registry, and of Docker Hub's own
 * images with `library/` and without; each with its tag or digest and without.
 */
export function imageForms(text: string): readonly string[] {
  const canonical = canonicalReference(text)
  if (canonical === undefined) return [text, untagged(text)]
  const { registry, repository } = remoteNameOf(canonical)
  const end = canonical.slice(untagged(canonical).length)
  const own = repository.replace(/^library\/(?=[^/]+$)/, '')
  const names =
    registry === dockerHub ? [repository, own].flatMap((name) => [name, `${dockerHub}/${name}`]) : [untagged(canonical)]
  return [...new Set([text, untagged(text), ...names.flatMap((name) => [name, name + end])])]
}

/** Without tag and digest. */
export const untagged = (image: string): string => image.replace(/@.*$/, '').replace(/:[^/:]*$/, '')

const isHost = (first: string): boolean => /[.:]/.test(first) || first === 'localhost'

function isName(name: string): boolean {
  const slash = name.indexOf('/')
  const first = name.slice(0, Math.max(0, slash))
  return isHost(first) ? hostPattern.test(first) && pathPattern.test(name.slice(slash + 1)) : pathPattern.test(name)
}

/** Host names know no case; the rest of a name has only small letters. */
function lowerHost(text: string): string {
  const slash = text.indexOf('/')
  const first = text.slice(0, Math.max(0, slash))
  return isHost(first.toLowerCase()) ? `${first.toLowerCase()}${text.slice(slash)}` : text
}
