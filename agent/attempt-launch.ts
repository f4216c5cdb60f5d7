import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { within } from '../base/clock.ts'
import { Fault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import type { Isolator, IsolatorRequest } from '../isolators/isolator.ts'
import { buildSpec } from '../isolators/runtime/oci/spec.ts'
import type { LaunchRequest, RunningContainer, Runtime, RuntimeSpec } from '../isolators/runtime/runtime.ts'
import type { TaskRow } from '../proto/gen/messages.ts'
import { annotationsOf } from './annotations.ts'
import type { AttemptObjects } from './attempt-objects.ts'
import type { FoundArtifact } from './images/artifacts.ts'
import type { ShiftedViews } from './images/shifted-views.ts'
import { makeVolumes, volumesAmong } from './images/volumes.ts'
import { logBudgetDefaults, unattendedLogBytes } from './logs/rotation.ts'
import type { DeviceDesk } from './named-devices.ts'
import { sharedOf } from './pods/shared.ts'
import type { ImageStore, Ledger, ResolvedImage } from './ports.ts'
import { cleanUpAll, isolateAll, prepareAll } from './prepare.ts'
import { bundleOf, fullRequest, logOf, onlyTask, type RequestConfig, sandboxOf, type User } from './task-request.ts'

export interface LaunchParts {
  readonly ledger: Pick<Ledger, 'low' | 'view'>
  readonly images: ImageStore
  readonly views: Pick<ShiftedViews, 'over'>
  readonly runtime: Runtime
  readonly isolators: readonly Isolator[]
  readonly devices: Pick<DeviceDesk, 'lend' | 'annotationsOf'>
  resolveUser(user: string, layers: readonly string[]): Promise<User>
}

interface LaunchConfig extends RequestConfig {
  readonly agentId: string
}

const prepareDeadlineMs = 300_000
const startDeadlineMs = 60_000

/** The image and the user, resolved; from here on something of the container exists, and the ledger knows. */
export async function openAttempt(
  parts: LaunchParts,
  config: LaunchConfig,
  of: { readonly row: TaskRow; readonly objects: AttemptObjects; readonly artifacts: readonly FoundArtifact[] },
  signal: AbortSignal
): Promise<IsolatorRequest> {
  const { row, objects, artifacts } = of
  const task = onlyTask(row)
  const images = parts.runtime.images(row.containerId) ?? parts.images
  const image: ResolvedImage = await images.resolve(task.image, signal)
  const user = await parts.resolveUser(task.process?.user || image.user, image.layers)
  await objects.intend(image, parts.runtime.holders(row.containerId))
  await mkdir(sandboxOf(config, row.containerId), { recursive: true, mode: 0o711 })
  const request = fullRequest(config, row, image, user, objects.intendMade)
  parts.runtime.check(request, 'launch')
  const { ids } = request.walls
  const base = ids?.first ?? 0
  const owner = { uid: base + request.process.uid, gid: base + request.process.gid }
  await parts.images.artifacts.place(artifacts, { folder: join(request.sandboxDir, 'files'), ...owner }, signal)
  // A runtime inside a user namespace can mount no overlay over the store: what would be a volume stays in the writable layer.
  const shared = await sharedOf(parts.runtime, config, row)
  const volumes = ids === undefined ? await makeVolumes(image.volumes ?? [], request) : []
  const lent = parts.devices.lend(row.containerId, task)
  const layers = ids === undefined ? request.layers : await parts.views.over(request.layers, ids, signal)
  return {
    ...request,
    layers,
    shared: shared.namespaces,
    imageMounts: [...request.imageMounts, ...volumes, ...shared.mounts],
    walls: { ...request.walls, devices: [...request.walls.devices, ...lent] }
  }
}

interface Launched {
  readonly row: TaskRow
  readonly objects: Pick<AttemptObjects, 'imageDigest'>
}

/** Called between the two stages of a launch, with what the task got less of than it asked for. */
type OnPrepared = (notices: readonly string[]) => void

/**
 * Each isolator's part of the bundle, all or nothing, and the runtime over it; the runtime's monitor gets ready while the parts
 * are made. A launch that fails leaves no wall standing.
 */
export async function launchAttempt(
  parts: LaunchParts,
  config: LaunchConfig,
  of: Launched & { readonly request: IsolatorRequest; readonly log: Log; readonly onPrepared: OnPrepared },
  signal: AbortSignal
): Promise<RunningContainer> {
  const { row, request, log, onPrepared } = of
  const starting = new Deadline()
  let standing = false
  const prepare = async (): Promise<RuntimeSpec> => {
    const prepared = await prepareAll(parts.isolators, request, log, within(prepareDeadlineMs, signal))
    standing = true
    starting.begin(startDeadlineMs)
    onPrepared([...prepared.flatMap((part) => part.notices ?? []), ...volumeNotice(request)])
    // What the ledger kept free is for endings, not for one launch more.
    if (parts.ledger.low) throw new Fault('exhausted', 'no space is left on the node’s disk', { reason: 'disk_full' })
    const whose = annotationsOf({ ...parts.ledger.view.head, agentId: config.agentId, row })
    return buildSpec(request, prepared, { ...whose, ...parts.devices.annotationsOf(row.containerId) })
  }
  const spec = prepare()
  const inTime = AbortSignal.any([signal, starting.signal])
  try {
    const running = await parts.runtime.launch(launchRequestOf(config, of, spec), inTime)
    await isolateOrEnd(parts, request, running, inTime)
    return running
  } catch (cause) {
    await spec.catch(() => undefined) // the same failure, or one that came after it
    if (standing) await cleanUpAll([...parts.isolators].reverse(), request, log)
    throw cause
  } finally {
    starting.end()
  }
}

/** A container that one of its walls refuses is ended at once; nothing of it is left but the walls. */
async function isolateOrEnd(
  { isolators, runtime }: LaunchParts,
  request: IsolatorRequest,
  { pid }: RunningContainer,
  signal: AbortSignal
): Promise<void> {
  const { containerId } = request
  try {
    await isolateAll(isolators, request, pid, signal)
  } catch (cause) {
    await runtime.kill(containerId)
    await runtime.remove(containerId, new AbortController().signal)
    runtime.dropExit(containerId)
    throw cause
  }
}

function volumeNotice({ imageMounts, sandboxDir }: IsolatorRequest): readonly string[] {
  const volumes = volumesAmong(imageMounts, sandboxDir)
  return volumes.length === 0 ? [] : [`fresh volumes of its image: ${volumes.join(', ')}`]
}

function launchRequestOf(config: LaunchConfig, { row, objects }: Launched, spec: Promise<RuntimeSpec>): LaunchRequest {
  const task = onlyTask(row)
  return {
    containerId: row.containerId,
    bundleDir: bundleOf(config, row.containerId),
    config: spec,
    logPath: logOf(config, row.containerId),
    logMaxBytes: unattendedLogBytes(task.logBudget ?? logBudgetDefaults),
    terminal: task.process?.terminal ?? false,
    openStdin: task.process?.openStdin ?? false,
    runtime: task.runtime === 'crun' ? 'crun' : 'runc',
    imageDigest: objects.imageDigest ?? ''
  }
}

/** A time limit that begins later than the signal that tells of it. */
class Deadline {
  readonly #late = new AbortController()
  #timer: NodeJS.Timeout | undefined

  get signal(): AbortSignal {
    return this.#late.signal
  }

  begin(ms: number): void {
    this.#timer = setTimeout(() => this.#late.abort(new DOMException('the time limit has passed', 'TimeoutError')), ms).unref()
  }

  end(): void {
    clearTimeout(this.#timer)
  }
}

/** Why a launch was given up that somebody wanted ended. */
export class KilledDuringLaunch extends Error {
  override readonly name = 'KilledDuringLaunch'
}
