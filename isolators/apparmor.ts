import { readFile } from 'node:fs/promises'
import { Fault } from '../base/fault.ts'
import type { Isolator } from './isolator.ts'

/** AppArmor profiles that the host has loaded, where its kernel has AppArmor (securityfs, `apparmor/profiles`: `name (mode)`). */
export function apparmor(profilesFile = '/sys/kernel/security/apparmor/profiles'): Isolator {
  const loaded = async (): Promise<readonly string[] | undefined> => {
    const text = await readFile(profilesFile, 'utf8').catch(() => undefined) // no AppArmor here
    return text?.split('\n').flatMap((line) => /^(.+) \([a-z]+\)$/.exec(line)?.[1] ?? [])
  }
  return {
    name: 'apparmor',
    async capabilities() {
      const profiles = await loaded()
      const detail =
        profiles === undefined ? 'the kernel has no AppArmor, or it is off' : `${profiles.length} profiles are loaded`
      return [{ name: 'apparmor', present: profiles !== undefined, detail }]
    },
    async prepare({ walls }) {
      const wanted = walls.apparmor
      if (wanted === '') return {}
      const profiles = await loaded()
      if (profiles?.includes(wanted)) return { apparmorProfile: wanted }
      const why =
        profiles === undefined
          ? `this node’s kernel has no AppArmor, so it cannot put a task under the profile ${wanted}`
          : `this node has loaded no AppArmor profile ${wanted}: load it with apparmor_parser, or name another`
      throw new Fault('invalid', why, { reason: 'unsupported_request' })
    },
    cleanup: async () => undefined
  }
}
