import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Exec } from '../../base/exec.ts'
import { Fault } from '../../base/fault.ts'
import { cgroupDirectories } from '../../isolators/cgroup2/layout.ts'
import { removeCgroups } from '../../isolators/cgroup2/tree.ts'
import { isSameProcess } from '../../isolators/runtime/oci/process-table.ts'
import type { Finding } from './compare.ts'
import type { Places } from './observe.ts'
import { removeDocker } from './observe-docker.ts'
import { links, loopDevices } from './observe-kernel.ts'
import { nftDeletion, runNft } from './observe-nft.ts'
import { mountsBelow, mountTable } from './read-host.ts'

export interface RemoveParts {
  readonly exec: Exec
  /** Takes out of the image store what nothing needs (agent/images/store.ts). */
  readonly collectLayers: () => Promise<unknown>
}

/** Removes one object that plan.ts has found to be ours, unowned and without life. Throws a Fault where it must not or cannot. */
export async function removeObject(parts: RemoveParts, places: Places, { kind, id, containerId }: Finding): Promise<void> {
  switch (kind) {
    case 'cgroup': {
      // rmdir(2) removes a cgroup only while nothing is in it. `task` is the runtime's own one on v2 hosts.
      const own = cgroupDirectories(places.layout, join(places.cgroupParent, containerId))
      return removeCgroups(places.layout.mode === 'v2' ? own.flatMap((d) => [join(d, 'task'), d]) : own)
    }
    case 'conmon':
      return endProcess(id)
    case 'docker_container':
      return removeDocker(parts.exec, places, id)
    case 'overlay':
      await removeTree(join(id, 'upper'))
      return removeTree(join(id, 'work'))
    case 'bundle':
    case 'runtime_state':
    case 'exit_file':
    case 'lease':
    case 'sandbox_dir':
    case 'kept_log':
      return removeTree(id)
    case 'network_namespace':
      if (mountsBelow([id]).length > 0) await run(parts.exec, 'umount', ['--', id])
      return rm(id, { force: true })
    case 'link':
      return removeLink(parts.exec, places, id)
    case 'nft_table':
    case 'nft_element':
      await runNft(parts.exec, ['-j', nftDeletion(kind, id)])
      return undefined
    case 'loop_device':
      return detachLoop(parts.exec, places, id)
    case 'layer':
    case 'shifted_view':
      return collectLayer(parts, id)
    case 'log_file':
      return undefined // goes with its sandbox
    case 'mount':
    case 'image':
      throw new Fault('conflict', `${id} is not to be removed by a repair`)
  }
}

/** Names are used again: what bears one now must still say that it is ours. The end of a pair takes the other with it. */
async function removeLink(exec: Exec, places: Places, name: string): Promise<void> {
  const found = [...links(places)].find((link) => link.id === name)
  if (found?.isOurs === true) await run(exec, 'ip', ['link', 'delete', 'dev', name])
}

async function detachLoop(exec: Exec, places: Places, device: string): Promise<void> {
  const mount = mountTable().find(({ source }) => source === device)
  if (mount !== undefined) throw new Fault('conflict', `${device} is mounted on ${mount.point}; unmount it and try again`)
  const found = [...loopDevices(places)].find((loop) => loop.id === device)
  if (found?.isOurs === true) await run(exec, 'losetup', ['--detach', device])
}

/** By the store itself, which knows what is being imported; one collection takes all of them. */
async function collectLayer({ collectLayers }: RemoveParts, path: string): Promise<void> {
  if (existsSync(path)) await collectLayers()
  if (existsSync(path)) throw new Fault('conflict', `layer ${basename(path).slice(0, 12)} is needed by a container that runs`)
}

async function run(exec: Exec, program: string, words: readonly string[]): Promise<void> {
  const { code, stderr } = await exec.run(program, words, { timeoutMs: 10_000 }, new AbortController().signal)
  if (code !== 0) throw new Fault('unavailable', `${program} refused: ${stderr.trim().split('\n')[0] ?? ''}`)
}

/** How long a killed process may take to go; one that waits for a broken disk takes longer, and is found again. */
const endPauses = new Array<number>(100).fill(10)

async function endProcess(id: string): Promise<void> {
  const [pid = 0, startTicks = 0] = id.split(' ').map(Number)
  if (!isSameProcess(pid, startTicks)) return
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It ended between the look and the signal.
  }
  for (const pauseMs of endPauses) {
    if (!isSameProcess(pid, startTicks)) return
    await delay(pauseMs)
  }
}

/** What is below a mount belongs to somebody. */
async function removeTree(path: string): Promise<void> {
  const [mount] = mountsBelow([path])
  if (mount !== undefined) throw new Fault('conflict', `${mount.point} is still mounted; unmount it and try again`)
  await rm(path, { recursive: true, force: true })
}
