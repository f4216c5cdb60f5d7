import { Fault } from '../base/fault.ts'
import type { Artifact } from './gen/messages.ts'

/** What a task may ask to have put into its sandbox. Pure. */

export const mostArtifacts = 64
const sandbox = '/sandbox/'
const packed = /\.(tar|tgz|tar\.gz|tar\.zst|tzst)$/

/** Throws `Fault('invalid')` with the first mistake. */
export function checkArtifacts(artifacts: readonly Artifact[]): void {
  if (artifacts.length > mostArtifacts) throw wrong(`a task has at most ${mostArtifacts} artifacts, not ${artifacts.length}`)
  const targets = new Set<string>()
  for (const artifact of artifacts) {
    checkUrl(artifact.url)
    const shown = JSON.stringify(artifact.url.slice(0, 200))
    if (!/^([0-9a-f]{64})?$/.test(artifact.sha256)) throw wrong(`the sha256 of the artifact ${shown} is 64 hexadecimal digits`)
    if (artifact.unpack && artifact.executable)
      throw wrong(`the artifact ${shown} is unpacked or made executable, not both: a tar has modes of its own`)
    const target = targetOf(artifact)
    if (targets.has(target)) throw wrong(`two artifacts are to lie at ${target}: give one of them another place`)
    targets.add(target)
  }
}

function checkUrl(text: string): void {
  const shown = JSON.stringify(text.slice(0, 200))
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !/^(https?|file):$/.test(url.protocol))
    throw wrong(`the artifact ${shown} is no https, http or file URL`)
  if (url.username !== '' || url.password !== '')
    throw wrong('an artifact’s URL holds no credentials: the node has them from docker login, by host')
  if (url.protocol === 'file:' && url.host !== '') throw wrong(`the artifact ${shown} names a host: write file:/path of the node`)
}

/** Where it comes to lie, below the sandbox. Throws `Fault('invalid')` for a place outside. */
export function targetOf({ url, target, unpack }: Pick<Artifact, 'url' | 'target' | 'unpack'>): string {
  const own = target === '' ? lastOf(url, unpack) : target
  const inside = own.startsWith(sandbox) ? own.slice(sandbox.length) : own
  const plain = plainOf(inside)
  const isInside = plain !== undefined && plain !== '' && !plain.includes('\0') && Buffer.byteLength(plain) <= 1_024
  if (isInside) return plain
  throw wrong(`an artifact comes to lie below the sandbox, not at ${JSON.stringify(own.slice(0, 200))}`)
}

/** The path of a `file:` URL; undefined for others. */
export function filePathOf(url: string): string | undefined {
  if (!url.startsWith('file:')) return undefined
  const path = decoded(new URL(url).pathname)
  if (path === undefined || path.includes('\0')) throw wrong(`the artifact ${JSON.stringify(url.slice(0, 200))} names no path`)
  return path
}

/** Without `.`, `..` and empty parts; undefined where it is absolute or leads out. */
function plainOf(path: string): string | undefined {
  if (path.startsWith('/')) return undefined
  const parts: string[] = []
  for (const part of path.split('/')) {
    if (part === '..' && parts.pop() === undefined) return undefined
    if (part !== '..' && part !== '.' && part !== '') parts.push(part)
  }
  return parts.join('/')
}

function lastOf(url: string, unpack: boolean): string {
  const name = decoded(new URL(url).pathname.replace(/\/+$/, '').replace(/^.*\//, '')) ?? ''
  return unpack ? name.replace(packed, '') : name
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined // no UTF-8
  }
}

const wrong = (why: string): Fault => new Fault('invalid', why, { reason: 'task_invalid' })
