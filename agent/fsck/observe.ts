import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import type { Exec } from '../../base/exec.ts'
import { type CgroupLayout, cgroupDirectories } from '../../isolators/cgroup2/layout.ts'
import { readProcess } from '../../isolators/runtime/oci/process-table.ts'
import { isContainerId } from '../../proto/ids.ts'
import { aboutName, parseKept } from '../logs/kept-log.ts'
import { readProvenance } from '../rebuild.ts'
import type { FsckKind, Seen } from './compare.ts'
import { observeDocker } from './observe-docker.ts'
import { images, layers, shiftedViews } from './observe-images.ts'
import { links, loopDevices, networkNamespaces, networkNamespacesOf } from './observe-kernel.ts'
import { observeNft } from './observe-nft.ts'
import { mountsBelow, namesIn, textOf } from './read-host.ts'

/** Where the objects of one agent lie. */
export interface Places {
  readonly layout: CgroupLayout
  readonly cgroupParent: string
  /** Of what dies with the boot. */
  readonly runDir: string
  readonly stateDir: string
  readonly sandboxesDir: string
  readonly agentId: string
  /** Command line of agent/host/docker-main.ts, with Docker's socket. */
  readonly dockerProgram: readonly string[]
}

export interface Look {
  readonly seen: readonly Seen[]
  /** What could not be looked at, and why. */
  readonly unseen: readonly string[]
}

type Observer = (places: Places) => Iterable<Seen>

/** One row per kind of object; another kind joins by a row here, one in compare.ts and one in plan.ts. */
const observers: Readonly<Record<Exclude<FsckKind, 'nft_table' | 'nft_element' | 'docker_container'>, Observer>> = {
  cgroup: cgroups,
  bundle: bundles,
  runtime_state: runtimeStates,
  conmon: monitors,
  exit_file: exitFiles,
  lease: leases,
  overlay: writableLayers,
  log_file: logFiles,
  sandbox_dir: sandboxes,
  mount: mounts,
  network_namespace: networkNamespaces,
  link: links,
  loop_device: loopDevices,
  layer: layers,
  shifted_view: shiftedViews,
  image: images,
  kept_log: keptLogs
}

/** A synchronous stretch has at most this many objects. */
const stretch = 64

/** Everything of this agent that the host shows, in short stretches so that nobody waits for it. */
export async function observe(places: Places, exec: Exec): Promise<Look> {
  const seen: Seen[] = []
  for (const observer of Object.values(observers)) {
    for (const object of observer(places)) {
      seen.push(object)
      if (seen.length % stretch === 0) await turn()
    }
    await turn()
  }
  const nft = await observeNft(places, exec)
  const docker = await observeDocker(places, exec)
  return { seen: [...seen, ...nft.seen, ...docker.seen], unseen: [...nft.unseen, ...docker.unseen] }
}

function* cgroups({ layout, cgroupParent }: Places): Iterable<Seen> {
  const names = new Set(cgroupDirectories(layout, cgroupParent).flatMap(namesIn))
  for (const name of names) {
    if (isContainerId(name)) yield { kind: 'cgroup', id: join(cgroupParent, name), containerId: name, isOurs: true }
  }
}

const noContainer = 'its name is no container’s, so that nothing proves whose it is'

function* entries(kind: FsckKind, directory: string, odd: (containerId: string) => string | undefined): Iterable<Seen> {
  for (const name of namesIn(directory)) {
    const id = join(directory, name)
    if (!isContainerId(name)) yield { kind, id, containerId: '', isOurs: noContainer }
    else {
      const why = odd(name)
      yield { kind, id, containerId: name, isOurs: true, ...(why === undefined ? {} : { odd: why }) }
    }
  }
}

const sound = (): undefined => undefined

function* bundles({ runDir, agentId }: Places): Iterable<Seen> {
  const odd = (containerId: string): string | undefined => {
    const found = readProvenance(runDir, containerId)
    if (found === undefined) return 'its annotations are damaged: the ledger could not be rebuilt from it'
    return found.agentId === agentId ? undefined : `its annotations name another agent, ${found.agentId}`
  }
  for (const bundle of entries('bundle', join(runDir, 'c'), odd)) {
    const foreign = bundle.odd?.startsWith('its annotations name another agent') === true
    yield foreign ? { ...bundle, isOurs: bundle.odd ?? '' } : bundle
  }
}

function* runtimeStates({ runDir }: Places): Iterable<Seen> {
  for (const runtime of ['runc', 'crun']) yield* entries('runtime_state', join(runDir, 'oci', runtime), sound)
}

function* exitFiles({ runDir }: Places): Iterable<Seen> {
  const directory = join(runDir, 'exits')
  const odd = (containerId: string): string | undefined =>
    /^\d{1,3}$/.test(textOf(join(directory, containerId))) ? undefined : 'it holds no exit code'
  for (const file of entries('exit_file', directory, odd)) {
    // conmon writes beside the name and renames.
    const isBeingWritten = /\/[0-9a-f]{32}\.[^/]+$/.test(file.id)
    if (!isBeingWritten) yield file
  }
}

/** With the watchdog's word about one; its own name is no container's. */
function* leases({ runDir }: Places): Iterable<Seen> {
  const directory = join(runDir, 'leases')
  for (const name of namesIn(directory).filter((entry) => !entry.startsWith('watchdog'))) {
    const containerId = name.replace(/\.(fired|draft|fired\.draft)$/, '')
    const isOurs = isContainerId(containerId) || noContainer
    yield { kind: 'lease', id: join(directory, name), containerId: isOurs === true ? containerId : '', isOurs }
  }
}

function* sandboxes({ sandboxesDir }: Places): Iterable<Seen> {
  yield* entries('sandbox_dir', sandboxesDir, sound)
}

function* writableLayers({ sandboxesDir }: Places): Iterable<Seen> {
  for (const name of namesIn(sandboxesDir).filter(isContainerId)) {
    const sandbox = join(sandboxesDir, name)
    const layer = namesIn(sandbox).find((entry) => entry === 'upper' || entry === 'work')
    if (layer !== undefined) yield { kind: 'overlay', id: sandbox, containerId: name, isOurs: true }
  }
}

function* logFiles({ sandboxesDir }: Places): Iterable<Seen> {
  for (const name of namesIn(sandboxesDir).filter(isContainerId)) {
    const sandbox = join(sandboxesDir, name)
    if (namesIn(sandbox).includes('log')) yield { kind: 'log_file', id: join(sandbox, 'log'), containerId: name, isOurs: true }
  }
}

/** What says whose log it is lies with it, and owns it. */
function* keptLogs({ stateDir }: Places): Iterable<Seen> {
  const directory = join(stateDir, 'agent/kept-logs')
  for (const name of namesIn(directory).filter((entry) => !/^removed\.json(\.draft)?$/.test(entry))) {
    const id = join(directory, name)
    if (!isContainerId(name)) yield { kind: 'kept_log', id, containerId: '', isOurs: noContainer }
    else if (parseKept(textOf(join(id, aboutName)), name) !== undefined)
      yield { kind: 'kept_log', id, containerId: '', isOurs: true, isOwned: true }
    else yield { kind: 'kept_log', id, containerId: '', isOurs: true, odd: 'nothing says whose log it is' }
  }
}

/** conmons that write their exit codes into this agent's directory. */
function* monitors({ runDir }: Places): Iterable<Seen> {
  const exits = join(runDir, 'exits')
  for (const name of namesIn('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const words = textOf(`/proc/${name}/cmdline`).split('\0')
    const after = (flag: string): string => words[words.indexOf(flag) + 1] ?? ''
    if (!words.includes('--conmon-pidfile') || after('--exit-dir') !== exits || !isContainerId(after('-u'))) continue
    const process = readProcess(Number(name))
    if (process === undefined) continue
    yield { kind: 'conmon', id: `${process.pid} ${process.startTicks}`, containerId: after('-u'), isOurs: true }
  }
}

/** Hearth mounts nothing on the host for containers but network namespaces: every other mount below its directories is somebody's. */
function* mounts({ runDir, sandboxesDir }: Places): Iterable<Seen> {
  for (const { point: id } of mountsBelow([runDir, sandboxesDir])) {
    if (id === runDir || id === sandboxesDir) continue // the operator gave us a file system of our own
    if (id.startsWith(`${networkNamespacesOf(runDir)}/`)) continue
    const containerId = id.split('/').find(isContainerId) ?? ''
    yield { kind: 'mount', id, containerId, isOurs: 'Hearth makes no such mount: nothing proves whose it is' }
  }
}
