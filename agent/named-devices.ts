import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { errnoOf, Fault } from '../base/fault.ts'
import type { DeviceAccess } from '../isolators/walls.ts'
import type { Capability, TaskDefinition } from '../proto/gen/messages.ts'
import { type Resources, scalar, scalarOf } from '../proto/resources.ts'
import { usualResources } from '../proto/tenant-policy.ts'
import type { Ledger } from './ports.ts'

/** What this node lends out, by name: each device with the paths of all its nodes. */
export type NamedDevices = ReadonlyMap<string, readonly (readonly string[])[]>

/**
 * `gpu=/dev/nvidia0+/dev/nvidiactl,gpu=/dev/nvidia1+/dev/nvidiactl`: two devices named gpu, each of two nodes. Undefined for what is
 * written otherwise.
 */
export function parseNamedDevices(text: string): NamedDevices | undefined {
  const named = new Map<string, string[][]>()
  for (const entry of text.split(',').filter((part) => part !== '')) {
    const [, name = '', nodes = ''] = /^([a-z][a-z0-9_-]*)=(.+)$/.exec(entry) ?? []
    const paths = nodes.split('+')
    if (name === '' || usualResources.includes(name) || paths.some((path) => !/^\/dev\/[^,+]+$/.test(path))) return undefined
    named.set(name, [...(named.get(name) ?? []), paths])
  }
  return named
}

/** What a container holds, beside whose it is. */
const annotation = 'org.hearth.devices'

interface DeskParts {
  readonly ledger: Pick<Ledger, 'view'>
}

interface DeskConfig {
  /** Boot-bound directory; bundles lie in `c/` below it. */
  readonly runDir: string
  readonly devices: NamedDevices
}

/**
 * Lends the node's devices out. The master counts them; which one it is is decided here. What living containers hold is remembered,
 * and after a restart read from their bundles: there it cannot be lost as long as the container lives.
 */
export class DeviceDesk {
  readonly #ledger: DeskParts['ledger']
  readonly #config: DeskConfig
  readonly #held = new Map<string, Held>()

  constructor(parts: DeskParts, config: DeskConfig) {
    this.#ledger = parts.ledger
    this.#config = config
  }

  /**
   * Devices for a container whose bundle is already in the ledger. Repeatable. Throws `Fault('exhausted')` where they are all lent
   * out, which the master's count should have prevented.
   */
  lend(containerId: string, task: TaskDefinition): readonly DeviceAccess[] {
    const held = this.#held.get(containerId) ?? this.#choose(containerId, task)
    this.#held.set(containerId, held)
    const paths = Object.values(held).flatMap((devices) => devices.flatMap((device) => device.split('+')))
    return [...new Set(paths)].map((path) => ({ path, target: path, access: 'rw' }))
  }

  /** For the runtime spec of a container that was lent something; nothing for any other. */
  annotationsOf(containerId: string): Readonly<Record<string, string>> {
    const held = this.#held.get(containerId) ?? {}
    return Object.keys(held).length === 0 ? {} : { [annotation]: JSON.stringify(held) }
  }

  #choose(containerId: string, task: TaskDefinition): Held {
    const inUse = this.#inUse(containerId)
    const chosen: Record<string, readonly string[]> = {}
    for (const [name, all] of this.#config.devices) {
      const count = Math.ceil(scalarOf(task.resources, name) / 1000)
      if (count === 0) continue
      const free = all.map((paths) => paths.join('+')).filter((device) => !inUse.has(device))
      if (free.length < count) {
        const say = `the task asks for ${count} ${name}, and of the ${all.length} of this node ${free.length} are free`
        throw new Fault('exhausted', say, { reason: 'resources_unknown' })
      }
      chosen[name] = free.slice(0, count)
    }
    return chosen
  }

  /** What other containers hold that are not removed yet: the ledger has their bundles. */
  #inUse(but: string): ReadonlySet<string> {
    const { tasks } = this.#ledger.view
    const living = [...tasks].flatMap(([id, { objects }]) => (objects.has(`bundle:${id}`) ? [id] : []))
    for (const id of this.#held.keys()) if (!living.includes(id)) this.#held.delete(id)
    const held = living.filter((id) => id !== but).map((id) => this.#held.get(id) ?? this.#inBundle(id))
    return new Set(held.flatMap((one) => Object.values(one).flat()))
  }

  /** A container without a whole bundle on the disk never began, and will not. */
  #inBundle(containerId: string): Held {
    try {
      const text = readFileSync(join(this.#config.runDir, 'c', containerId, 'config.json'), 'utf8')
      const { annotations = {} } = JSON.parse(text) as { readonly annotations?: Readonly<Record<string, string>> }
      return JSON.parse(annotations[annotation] ?? '{}') as Held
    } catch (e) {
      if (errnoOf(e) === 'ENOENT' || e instanceof SyntaxError) return {}
      throw e
    }
  }
}

/** By name, each device as its paths joined by +: a name that stays the same when the setting is written in another order. */
type Held = Readonly<Record<string, readonly string[]>>

/** What of it is there: a resource of the node for each name, counted, and a row for people. */
export function offerDevices(named: NamedDevices): {
  readonly present: NamedDevices
  readonly resources: Resources
  readonly capabilities: readonly Capability[]
} {
  const missing = (paths: readonly string[]): readonly string[] => paths.filter((path) => !isDevice(path))
  const present = new Map([...named].map(([name, all]) => [name, all.filter((paths) => missing(paths).length === 0)]))
  return {
    present,
    resources: [...present].flatMap(([name, { length }]) => (length === 0 ? [] : [scalar(name, length * 1000)])),
    capabilities: [...named].map(([name, all]) => {
      const absent = all.flatMap(missing)
      const count = present.get(name)?.length ?? 0
      const detail =
        absent.length === 0 ? `${count}` : `${count} of ${all.length}: ${absent.join(', ')} is no device of this node`
      return { name: `device.${name}`, present: count > 0, detail }
    })
  }
}

function isDevice(path: string): boolean {
  const stats = statSync(path, { throwIfNoEntry: false })
  return stats !== undefined && (stats.isCharacterDevice() || stats.isBlockDevice())
}
