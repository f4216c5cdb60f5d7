import { statSync } from 'node:fs'
import { errnoOf, Fault } from '../base/fault.ts'
import type { BundlePart, Isolator } from './isolator.ts'
import type { DeviceAccess } from './walls.ts'

/** Device nodes of the host that a container gets, each with the accesses it may make; all others the device cgroup refuses. */
export const devices: Isolator = {
  name: 'devices',
  capabilities: async () => [],
  async prepare({ walls }): Promise<BundlePart> {
    const found = walls.devices.map(lookUp)
    return { devices: found.map(({ node }) => node), deviceRules: found.map(({ rule }) => rule) }
  },
  cleanup: async () => undefined
}

interface Found {
  readonly node: Readonly<Record<string, unknown>>
  readonly rule: Readonly<Record<string, unknown>>
}

function lookUp({ path, target, access }: DeviceAccess): Found {
  const refuse = (why: string): Fault => new Fault('invalid', why, { reason: 'unsupported_request', device: path })
  let stats: ReturnType<typeof deviceAt>
  try {
    stats = deviceAt(path)
  } catch (e) {
    throw refuse(`this node has no device ${path} (${errnoOf(e) ?? 'it cannot be looked at'}): ask for one that it has`)
  }
  if (stats.type === '') throw refuse(`${path} of this node is no device node: name a character or block device`)
  if (!/^[rwm]+$/.test(access)) throw refuse(`the access to ${path} is written with r, w and m, not ${JSON.stringify(access)}`)
  if (!target.startsWith('/') || target.split('/').includes('..'))
    throw refuse(`${JSON.stringify(target)} is no place for ${path}: write an absolute path`)
  const { type, major, minor, mode, uid, gid } = stats
  return {
    node: { path: target, type, major, minor, fileMode: mode, uid, gid },
    rule: { allow: true, type, major, minor, access }
  }
}

/** `type` is empty for what is no device. */
function deviceAt(path: string) {
  const stats = statSync(path, { bigint: true })
  const type = stats.isCharacterDevice() ? 'c' : stats.isBlockDevice() ? 'b' : ''
  return { type, ...numbersOf(stats.rdev), mode: Number(stats.mode) & 0o777, uid: Number(stats.uid), gid: Number(stats.gid) }
}

/** glibc's gnu_dev_major and gnu_dev_minor: the kernel's 12 and 20 bits with room to grow in the upper half. */
export const numbersOf = (rdev: bigint): { readonly major: number; readonly minor: number } => ({
  major: Number(((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xfffff000n)),
  minor: Number((rdev & 0xffn) | ((rdev >> 12n) & 0xffffff00n))
})
