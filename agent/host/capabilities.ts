import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Capability } from '../../proto/gen/messages.ts'
import { podCapability } from '../../proto/pods.ts'
import type { CgroupView, HostRoots, LimitingController } from './cgroups.ts'
import type { ProgramVersion, ProgramVersions, RuntimeProgram } from './program-versions.ts'

interface Parts {
  readonly versions: Promise<ProgramVersions>
  readonly roots: HostRoots
}

/** What tasks may ask of this node, each row with how it is done here or why it is missing. */
export async function readCapabilities(parts: Parts, cgroups: CgroupView): Promise<Capability[]> {
  const { runc, crun, conmon } = await parts.versions
  return [
    programRow('runc', runc),
    crunRow(programRow('crun', crun), cgroups),
    programRow('conmon', conmon),
    idmapRow('runc', runc),
    idmapRow('crun', crun),
    limitRow('cpu', cgroups),
    limitRow('memory', cgroups),
    limitRow('pids', cgroups),
    present('limit.disk', 'measured every 15 s; a task over its limit is ended'),
    present('network.host', 'the interfaces and addresses of the host'),
    present('network.none', 'a network namespace with the loopback interface alone'),
    absent('network.address', 'this version gives no address of its own to a container'),
    present('task.walls', 'Linux capabilities, devices, paths, process limits and kernel settings as a task asks for them'),
    present('task.artifacts', 'files put into the sandbox before a task begins'),
    present(podCapability, 'several containers that share network and IPC, and live and die together'),
    present('image.signatures', 'images whose tenant asks for it are checked against public keys'),
    await seccompRow(parts.roots)
  ]
}

const present = (name: string, detail: string): Capability => ({ name, present: true, detail })
const absent = (name: string, detail: string): Capability => ({ name, present: false, detail })

function programRow(program: RuntimeProgram, found: ProgramVersion): Capability {
  const name = `runtime.${program}`
  return 'version' in found ? present(name, found.version) : absent(name, found.missing)
}

function crunRow(row: Capability, cgroups: CgroupView): Capability {
  if (!row.present || cgroups.mode === 'v2') return row
  return present(row.name, `${row.detail}, in a private mount namespace: crun refuses a host with cgroup v1 and v2 side by side`)
}

/** Since which version the option `idmap` of a mount does something; older ones say nothing and mount as if it were not there. */
const mapsMountsSince: Readonly<Record<'runc' | 'crun', readonly [number, number]>> = { runc: [1, 2], crun: [1, 8] }

function idmapRow(runtime: 'runc' | 'crun', found: ProgramVersion): Capability {
  const name = `mount.idmap.${runtime}`
  if ('missing' in found) return absent(name, found.missing)
  const [major = 0, minor = 0] = (/(\d+)\.(\d+)/.exec(found.version) ?? []).slice(1).map(Number)
  const [needsMajor, needsMinor] = mapsMountsSince[runtime]
  if (major > needsMajor || (major === needsMajor && minor >= needsMinor))
    return present(name, `${found.version} maps ids of mounts`)
  return absent(
    name,
    `${found.version} maps no ids of mounts: that needs ${runtime} ${needsMajor}.${needsMinor}, or the other runtime`
  )
}

function limitRow(controller: LimitingController, cgroups: CgroupView): Capability {
  const name = `limit.${controller}`
  const place = cgroups.controllers[controller]
  if (place === undefined) return absent(name, `the kernel offers no ${controller} controller in any cgroup tree`)
  const how = place.version === 2 ? 'cgroup v2' : `cgroup v1 (${cgroups.mode} host), through the runtime`
  return present(name, `${how}, ${place.mount}`)
}

async function seccompRow(roots: HostRoots): Promise<Capability> {
  const name = 'seccomp.default'
  const actions = await readFile(join(roots.proc, 'sys/kernel/seccomp/actions_avail'), 'utf8').catch(() => '')
  if (!actions.includes('errno')) return absent(name, 'the kernel has no seccomp filters')
  return present(name, 'the built-in profile, unless the agent’s settings name another')
}
