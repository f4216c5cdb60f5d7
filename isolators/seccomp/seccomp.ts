import { readdir, readFile } from 'node:fs/promises'
import { arch } from 'node:os'
import { join } from 'node:path'
import { errnoOf, Fault } from '../../base/fault.ts'
import type { Isolator } from '../isolator.ts'
import { defaultProfile } from './default-profile.ts'
import { type Profile, parseProfile, type Reduced, reduceProfile } from './profile.ts'

export interface SeccompConfig {
  /** File of what `default` means on this node; empty: the profile that is built in. */
  readonly defaultFile: string
  /** Where the profile NAME lies as NAME.json. */
  readonly directory: string
}

/** Sets of capabilities whose reduction is kept: tasks hardly ever differ in them. */
const keptMost = 64

/** The filter of system calls, reduced to the capabilities that the container has. */
export function seccomp(config: SeccompConfig): Isolator {
  const { defaultFile, directory } = config
  const reductions = new Map<string, Reduced>()
  let usual: Promise<Profile> | undefined
  const usualProfile = (): Promise<Profile> => {
    usual ??= defaultFile === '' ? Promise.resolve(defaultProfile) : readProfile(defaultFile).catch(missingDefault)
    usual.catch(() => (usual = undefined)) // the file may be mended
    return usual
  }
  const reducedDefault = async (caps: readonly string[]): Promise<Reduced> => {
    const profile = await usualProfile()
    const key = caps.join()
    const known = reductions.get(key)
    if (known !== undefined) return known
    const made = reduceProfile(profile, arch(), caps)
    if (reductions.size >= keptMost) reductions.clear()
    reductions.set(key, made)
    return made
  }
  return {
    name: 'seccomp',
    async capabilities() {
      const why = await usualProfile().then(
        () => undefined,
        (e: unknown) => (e instanceof Error ? e.message : String(e))
      )
      const detail = why ?? (defaultFile === '' ? 'the built-in profile' : defaultFile)
      return [{ name: 'seccomp.default', present: why === undefined, detail }]
    },
    async prepare({ walls }) {
      if (walls.seccomp === 'unconfined') return {}
      if (walls.seccomp === 'default') return { seccomp: await reducedDefault(walls.capabilities) }
      const profile = await named(directory, walls.seccomp)
      return { seccomp: reduceProfile(profile, arch(), walls.capabilities) }
    },
    cleanup: async () => undefined
  }
}

/** Not the built-in one instead: the operator may have meant a stricter one. */
function missingDefault(e: unknown): never {
  if (errnoOf(e) === undefined) throw e
  const say = 'the seccomp profile that this node’s agent was told to use cannot be read: mend it, or leave the setting out'
  throw new Fault('unavailable', `${say} (${(e as Error).message})`, { reason: 'launch_failed' }, e)
}

async function named(directory: string, name: string): Promise<Profile> {
  const isName = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(name)
  try {
    if (isName) return await readProfile(join(directory, `${name}.json`))
  } catch (e) {
    if (errnoOf(e) !== 'ENOENT') throw e
  }
  const files = await readdir(directory).catch(() => []) // there are none
  const known = files.flatMap((file) => (file.endsWith('.json') ? [file.slice(0, -'.json'.length)] : [])).sort()
  const others =
    known.length === 0 ? `put it into ${directory}/${isName ? name : 'NAME'}.json` : `this node has ${known.join(', ')}`
  throw new Fault('invalid', `this node has no seccomp profile ${JSON.stringify(name)}: ${others}, or use default`, {
    reason: 'unsupported_request'
  })
}

const readProfile = async (path: string): Promise<Profile> => parseProfile(path, await readFile(path, 'utf8'))
