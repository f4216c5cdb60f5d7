import { join } from 'node:path'
import { isContainerId } from '../../proto/ids.ts'
import type { Seen } from './compare.ts'
import { mountsBelow, namesIn, textOf } from './read-host.ts'

/** Kernel objects outside of files, and what proves whose they are (docs/decisions/0018). */

/** Where network namespaces are held: files of containers' names with a namespace mounted over each. */
export const networkNamespacesOf = (runDir: string): string => join(runDir, 'netns')

export function* networkNamespaces({ runDir }: { readonly runDir: string }): Iterable<Seen> {
  const directory = networkNamespacesOf(runDir)
  const names = namesIn(directory)
  if (names.length === 0) return
  const mounted = new Map(mountsBelow([directory]).map((mount) => [mount.point, mount.fileSystem]))
  for (const name of names) {
    const id = join(directory, name)
    const over = mounted.get(id) ?? 'nsfs' // without a mount it is what an agent left that died before, or after, the mount
    const isOurs = !isContainerId(name)
      ? 'its name is no container’s, so that nothing proves whose it is'
      : over === 'nsfs' || `a file system of type ${over} is mounted there, which Hearth does not do`
    yield { kind: 'network_namespace', id, containerId: isContainerId(name) ? name : '', isOurs }
  }
}

/** What the names of our links begin with. */
const linkPrefix = 'hth'
const linksDir = '/sys/class/net'

/** The alias of a link of ours: `hearth AGENT`, and the container's id where it has one. */
const aliasForm = /^hearth ([0-9a-f]{32})(?: ([0-9a-f]{32}))?\n?$/

export function* links({ agentId }: { readonly agentId: string }): Iterable<Seen> {
  for (const name of namesIn(linksDir).filter((link) => link.startsWith(linkPrefix))) {
    const [, agent, containerId = ''] = aliasForm.exec(textOf(join(linksDir, name, 'ifalias'))) ?? []
    if (agent === undefined) {
      const isOurs = 'its alias does not say which agent made it, so that nothing proves whose it is'
      yield { kind: 'link', id: name, containerId: '', isOurs }
    } else if (agent === agentId) yield { kind: 'link', id: name, containerId, isOurs: true }
  }
}

const blocks = '/sys/block'

/** Devices over files of ours: those below the agent's own directory, in a folder or under a name that is an id. */
export function* loopDevices({ stateDir }: { readonly stateDir: string }): Iterable<Seen> {
  for (const name of namesIn(blocks).filter((device) => device.startsWith('loop'))) {
    const file = backingFile(name)
    if (!file.startsWith(`${stateDir}/`)) continue
    const containerId = file.startsWith(`${stateDir}/agent/`) ? (file.split(/[/.]/).find(isContainerId) ?? '') : ''
    const isOurs = containerId !== '' || `its file, ${file}, bears no id of ours: nothing proves whose it is`
    yield { kind: 'loop_device', id: `/dev/${name}`, containerId, isOurs }
  }
}

/** The kernel adds ` (deleted)` to the path of a file without a name. */
export const backingFile = (device: string): string =>
  textOf(join(blocks, device, 'loop/backing_file')).replace(/( \(deleted\))?\n$/, '')
