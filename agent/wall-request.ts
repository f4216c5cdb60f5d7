import { readFileSync, realpathSync } from 'node:fs'
import { errnoOf, Fault } from '../base/fault.ts'
import { defaultCapabilities } from '../isolators/capabilities.ts'
import { type DeviceAccess, usualWalls, type WallRequest } from '../isolators/walls.ts'
import type { DeviceRequest, TaskDefinition, Walls } from '../proto/gen/messages.ts'
import { capabilitiesOfMask, everyCapability, linuxCapabilities } from '../proto/linux-capabilities.ts'

interface WallConfig {
  /** Device nodes that tasks may use; a folder stands for all below it. */
  readonly allowedDevices: readonly string[]
  readonly allowUnconfined: boolean
}

/** The walls that a task asks for. Throws `Fault('invalid')` with `detail.reason` for what this node does not give. */
export function wallsOf(config: WallConfig, task: TaskDefinition, uid: number): WallRequest {
  const seccomp = task.seccomp || 'default'
  if (seccomp === 'unconfined' && !config.allowUnconfined) {
    throw refuse(
      'this node’s operator allows no unconfined tasks; start the agent with --allow-unconfined=yes, or leave seccomp at its default'
    )
  }
  const { walls } = task
  if (walls === null) return { ...usualWalls, seccomp }
  const { capabilities, added } = linuxCapabilitiesOf(walls, ownCapabilities())
  return {
    capabilities,
    ambientCapabilities: uid === 0 ? [] : added,
    newPrivileges: walls.newPrivileges,
    readOnlyRoot: walls.readOnlyRoot,
    hiddenPaths: walls.hiddenPaths,
    readOnlyPaths: walls.readOnlyPaths,
    limits: walls.limits,
    devices: walls.devices.map((device) => allowedDevice(config.allowedDevices, device)),
    tmpBytes: walls.tmpBytes,
    shmBytes: walls.shmBytes || usualWalls.shmBytes,
    settings: walls.settings,
    apparmor: walls.apparmor,
    ids: undefined,
    seccomp
  }
}

interface Capabilities {
  /** In the order of their numbers. */
  readonly capabilities: readonly string[]
  readonly added: readonly string[]
}

/** ALL stands for what the agent holds itself, and names win over it. Pure. */
export function linuxCapabilitiesOf(
  { addCapabilities: add, dropCapabilities: drop }: Pick<Walls, 'addCapabilities' | 'dropCapabilities'>,
  own: readonly string[]
): Capabilities {
  const unknown = [...add, ...drop].find((name) => name !== everyCapability && !linuxCapabilities.includes(name))
  if (unknown !== undefined) throw refuse(`there is no Linux capability ${JSON.stringify(unknown)}`)
  const lacking = add.find((name) => name !== everyCapability && !own.includes(name))
  if (lacking !== undefined) {
    throw refuse(`this node’s agent does not hold ${lacking} itself and can give it to no task: run it with the capability`)
  }
  const addsAll = add.includes(everyCapability)
  const begun: readonly string[] = addsAll ? own : drop.includes(everyCapability) ? [] : defaultCapabilities
  const set = new Set([...begun, ...add])
  for (const name of drop) set.delete(name)
  const capabilities = linuxCapabilities.filter((name) => set.has(name))
  return { capabilities, added: addsAll ? capabilities : capabilities.filter((name) => add.includes(name)) }
}

let own: readonly string[] | undefined

/** What this process may pass on (CapBnd of proc_pid_status(5)); it does not change while it lives. */
function ownCapabilities(): readonly string[] {
  own ??= capabilitiesOfMask(/^CapBnd:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0')
  return own
}

function allowedDevice(allowed: readonly string[], device: DeviceRequest): DeviceAccess {
  let real: string
  try {
    real = realpathSync(device.path)
  } catch (e) {
    throw refuse(`this node has no device ${device.path} (${errnoOf(e) ?? String(e)}): ask for one that it has`)
  }
  if (!allowed.some((one) => real === one || real.startsWith(one.endsWith('/') ? one : `${one}/`))) {
    const permitted = allowed.length === 0 ? 'no devices' : `only ${allowed.join(', ')}`
    throw refuse(
      `this node’s operator lets tasks use ${permitted}; to allow ${real}, start Hearth with HEARTH_ALLOW_DEVICE=${real} hearth up`
    )
  }
  return { path: real, target: device.target || device.path, access: device.access || 'rw' }
}

const refuse = (why: string): Fault => new Fault('invalid', why, { reason: 'unsupported_request' })
