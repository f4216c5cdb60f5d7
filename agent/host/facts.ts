import { readFile } from 'node:fs/promises'
import { machine } from 'node:os'
import { join } from 'node:path'
import { Fault } from '../../base/fault.ts'
import { completeMessage } from '../../proto/codec.ts'
import type { Attribute, Capability } from '../../proto/gen/messages.ts'
import type { Resources } from '../../proto/resources.ts'
import { readCapabilities } from './capabilities.ts'
import { readCapacity } from './capacity.ts'
import { type CgroupView, type HostRoots, readCgroups } from './cgroups.ts'
import type { ProgramVersions } from './program-versions.ts'

export interface HostFacts {
  /** New with every boot; pids, mounts and cgroups are only meaningful together with it. */
  readonly bootId: string
  readonly hostname: string
  readonly kernel: string
  readonly cgroups: CgroupView
  readonly resources: Resources
  readonly attributes: readonly Attribute[]
  readonly capabilities: readonly Capability[]
}

interface Parts {
  readonly versions: Promise<ProgramVersions>
  readonly roots: HostRoots
}

/** Reads what this host is and offers. Throws `Fault('unsupported')` for a host below the floor, in words for its operator. */
export async function readHostFacts(parts: Parts, config: { readonly stateDir: string }): Promise<HostFacts> {
  const { roots } = parts
  const line = async (name: string): Promise<string> => (await readFile(join(roots.proc, name), 'utf8')).trim()
  const kernel = await line('sys/kernel/osrelease')
  const cgroups = await readCgroups(roots)
  checkFloor(kernel, cgroups)
  const [bootId, hostname, resources, os, capabilities] = await Promise.all([
    line('sys/kernel/random/boot_id'),
    line('sys/kernel/hostname'),
    readCapacity(roots, config.stateDir),
    distribution(roots),
    readCapabilities(parts, cgroups)
  ])
  const attributes = [text('kernel', kernel), text('os', os), text('arch', machine())]
  return { bootId, hostname, kernel, cgroups, resources, attributes, capabilities }
}

/** The floor of design.md: Linux 5.14 (cgroup.kill) with a cgroup v2 tree, alone or beside v1. */
export function checkFloor(release: string, cgroups: CgroupView): void {
  const [major = 0, minor = 0] = release.split(/[.-]/, 2).map(Number)
  if (!(major > 5 || (major === 5 && minor >= 14))) {
    throw new Fault('unsupported', `Hearth needs Linux 5.14 or newer, this host runs ${release}: upgrade its kernel`)
  }
  if (cgroups.unified === undefined) {
    const how = 'mount one with: mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified'
    throw new Fault('unsupported', `Hearth needs a cgroup v2 tree and this host has cgroup v1 alone: ${how}`)
  }
}

export const text = (name: string, value: string): Attribute => completeMessage('Attribute', { name, kind: 'text', text: value })

async function distribution(roots: HostRoots): Promise<string> {
  // A host without os-release is still a host.
  const release = await readFile(join(roots.etc, 'os-release'), 'utf8').catch(() => '')
  return /^PRETTY_NAME="?([^"\n]*)"?$/m.exec(release)?.[1] ?? 'unknown Linux'
}
