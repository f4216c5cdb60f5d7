import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Fault } from '../base/fault.ts'
import type { HostCapability, Isolator } from './isolator.ts'
import type { IdRange } from './walls.ts'

interface Roots {
  readonly proc: string
  readonly sys: string
  readonly etc: string
}

const hostRoots: Roots = { proc: '/proc', sys: '/sys', etc: '/etc' }
/** Below it are the users of the node itself. */
const leastFirst = 65_536

/**
 * Ids of its own for a container that asks for them: its root is an id of the node that nobody else has, and holds its capabilities
 * over its own namespaces alone (user_namespaces(7)). The image's files come to these ids by the image store, the writable layer and the
 * sandbox by filesystem.ts, mounts of the host by the runtime where it can. `given`: what all such containers may have, of which the node
 * may give nothing to others.
 */
export const userNamespace = (given: IdRange | undefined, roots = hostRoots): Isolator => ({
  name: 'user-namespace',
  capabilities: async () => [capabilityOf(given, roots)],
  async prepare({ walls: { ids } }) {
    if (ids === undefined) return {}
    if (ids.first < leastFirst || ids.count <= 0) {
      const say = `the ids from ${ids.first} on, ${ids.count} of them, are the node’s own or none at all`
      throw new Fault('invalid', say, { reason: 'task_invalid' })
    }
    return { namespaces: [{ type: 'user' }], idMappings: [{ containerID: 0, hostID: ids.first, size: ids.count }] }
  },
  cleanup: async () => undefined
})

function capabilityOf(given: IdRange | undefined, { proc, sys, etc }: Roots): HostCapability {
  const name = 'user-namespace'
  const absent = (detail: string): HostCapability => ({ name, present: false, detail })
  if (Number(textOf(join(proc, 'sys/user/max_user_namespaces')) ?? 0) === 0)
    return absent('the kernel makes no user namespaces: set user.max_user_namespaces')
  const overlay = join(sys, 'module/overlay')
  // A module that is not loaded yet is asked by the first mount; since Linux 4.19 it can.
  if (existsSync(overlay) && !existsSync(join(overlay, 'parameters/metacopy')))
    return absent('the kernel’s overlayfs copies no metadata alone, by which files get other owners')
  const taken = given === undefined ? undefined : takenOf(given, etc)
  if (taken !== undefined) return absent(taken)
  return { name, present: true, detail: 'ids of its role alone; files are shifted by overlayfs metadata, once for each layer' }
}

/** `name:first:count` of subuid(5), `name:password:id` of passwd(5) and group(5). */
function takenOf({ first, count }: IdRange, etc: string): string | undefined {
  for (const file of ['subuid', 'subgid', 'passwd', 'group']) {
    const isTaken = (line: string): boolean => {
      const [, second = Number.NaN, third = Number.NaN] = line.split(':').map(Number)
      const [from, many] = file.startsWith('sub') ? [second, third] : [third, 1]
      return from < first + count && from + many > first
    }
    const [name] = textOf(join(etc, file))?.split('\n').find(isTaken)?.split(':') ?? []
    if (name !== undefined)
      return `${join(etc, file)} gives ids of ${first} to ${first + count - 1} to ${name}: these belong to tasks`
  }
  return undefined
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined // not there: it says nothing
  }
}
