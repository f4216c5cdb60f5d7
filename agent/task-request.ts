import { realpathSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Fault } from '../base/fault.ts'
import { sandboxMountPoint } from '../isolators/filesystem.ts'
import type { IsolatorRequest, MountRequest } from '../isolators/isolator.ts'
import { type IdRange, usualWalls } from '../isolators/walls.ts'
import { checkArtifacts, filePathOf, targetOf } from '../proto/artifacts.ts'
import { completeMessage } from '../proto/codec.ts'
import type { Artifact, Process, TaskDefinition, TaskRow } from '../proto/gen/messages.ts'
import { isRangeOfRole } from '../proto/id-ranges.ts'
import { isDigest } from '../proto/image-name.ts'
import { unfitLength } from '../proto/lease-length.ts'
import { capabilitiesFor, checkLimits } from '../proto/limits.ts'
import { policyRefusal, signatureRules } from '../proto/tenant-policy.ts'
import { signatureRefusal } from './images/signature.ts'
import type { ResolvedImage } from './ports.ts'
import { limitsOf } from './task-limits.ts'
import { wallsOf } from './wall-request.ts'

/** What a task asks for, as the isolators understand it. */

export interface RequestConfig {
  readonly runDir: string
  readonly sandboxesDir: string
  readonly hostname: string
  /** Host folders that tasks may mount, with everything below them. */
  readonly allowedMounts: readonly string[]
  /** Device nodes that tasks may use; a folder stands for all below it. */
  readonly allowedDevices: readonly string[]
  readonly allowUnconfined: boolean
  /** Why this node has not that capability; undefined where it has. */
  missing(capability: string): string | undefined
}

export interface User {
  readonly uid: number
  readonly gid: number
  readonly additionalGids: readonly number[]
}

const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

export const sandboxOf = (config: RequestConfig, containerId: string): string => join(config.sandboxesDir, containerId)
export const bundleOf = (config: RequestConfig, containerId: string): string => join(config.runDir, 'c', containerId)
export const logOf = (config: RequestConfig, containerId: string): string => join(sandboxOf(config, containerId), 'log')

/** The one task of a row; a pod has a row for each of its containers (agent/pods/seat.ts). Throws `Fault('unsupported')`. */
export function onlyTask(row: TaskRow): TaskDefinition {
  const [task, ...more] = row.group?.tasks ?? []
  if (task === undefined || more.length > 0)
    throw new Fault('unsupported', 'a row of the ledger holds exactly one task', { reason: 'unsupported_request' })
  checkPolicy(row, task)
  const unfit = task.lease === null ? undefined : unfitLength(task.lease.lengthMs)
  if (unfit !== undefined) throw new Fault('invalid', unfit, { reason: 'lease_refused' })
  checkLimits(task)
  return task
}

/** The master has looked already; here links are followed and the user's number is known. Without a user for what can be told before. */
function checkPolicy({ group }: TaskRow, task: TaskDefinition, uid?: number): void {
  const refusal = group === null || group.policy === null ? undefined : policyRefusal(group.policy, group.role, task, uid)
  if (refusal !== undefined) throw new Fault('denied', refusal, { reason: 'policy_refused' })
}

/** Of the image as it is resolved, for a digest alone names no registry, and a name may have come to mean another image by now. */
function checkImage({ group }: TaskRow, task: TaskDefinition, image: ResolvedImage): void {
  const policy = group?.policy ?? null
  if (group === null || policy === null) return
  const outside = isDigest(task.image) ? policyRefusal(policy, group.role, { ...task, image: image.reference }) : undefined
  const { reference, digest, roots = [digest], signatures = [] } = image
  const refusal = outside ?? signatureRefusal(signatureRules(policy, reference), { reference, roots, signatures })
  if (refusal !== undefined) throw new Fault('denied', refusal, { reason: 'policy_refused' })
}

/** What names the container's files, enough to undo everything; the rest of a request is only needed to launch. */
export function bareRequest(
  config: RequestConfig,
  containerId: string,
  task: TaskDefinition | undefined,
  made: IsolatorRequest['made'] = []
): IsolatorRequest {
  return {
    containerId,
    bundleDir: bundleOf(config, containerId),
    sandboxDir: sandboxOf(config, containerId),
    limits: limitsOf(task),
    network: task?.network?.mode === 'none' ? 'none' : 'host',
    layers: [],
    imageMounts: [],
    mounts: [],
    process: {
      arguments: [],
      environment: [],
      workingDirectory: '/',
      uid: 0,
      gid: 0,
      additionalGids: [],
      terminal: task?.process?.terminal ?? false,
      rows: task?.process?.rows ?? 0,
      columns: task?.process?.columns ?? 0,
      hostname: config.hostname
    },
    walls: usualWalls,
    labels: Object.fromEntries((task?.labels ?? []).map(({ key, value }) => [key, value])),
    made,
    journal: async () => undefined
  }
}

/** Throws `Fault('invalid')` with `detail.reason` for what this node does not allow or the image does not have. */
export function fullRequest(
  config: RequestConfig,
  row: TaskRow,
  image: ResolvedImage,
  user: User,
  journal: IsolatorRequest['journal']
): IsolatorRequest {
  const task = onlyTask(row)
  checkImage(row, task, image)
  const bare = bareRequest(config, row.containerId, task)
  for (const name of capabilitiesFor(task)) {
    const why = config.missing(name)
    if (why !== undefined) throw new Fault('unsupported', `this node has no ${name}: ${why}`, { reason: 'unsupported_request' })
  }
  const mounts = task.mounts.map((m) => allowedMount(config.allowedMounts, m))
  const walls = { ...wallsOf(config, task, user.uid), ids: idsOf(row, task, user) }
  const devices = walls.devices.map((device) => completeMessage('DeviceRequest', device))
  checkPolicy(row, { ...task, mounts, walls: task.walls && { ...task.walls, devices } }, user.uid)
  return {
    ...bare,
    layers: image.layers,
    imageMounts: image.mounts,
    mounts,
    process: {
      ...bare.process,
      ...user,
      arguments: argumentsOf(task.process, image),
      environment: environmentOf(row, task, image),
      workingDirectory: workingDirectoryOf(task.process, image),
      hostname: bare.network === 'host' ? config.hostname : row.containerId.slice(0, 12)
    },
    walls,
    journal
  }
}

/** Of its role, where the task has a user namespace. Throws `Fault('invalid')` for a user that has no place in it. */
function idsOf({ group }: TaskRow, task: TaskDefinition, { uid, gid, additionalGids }: User): IdRange | undefined {
  if (task.walls?.userNamespace !== true) return undefined
  const refuse = (why: string): Fault => new Fault('invalid', why, { reason: 'unsupported_request' })
  const ids = group?.ids ?? null
  if (ids === null)
    throw refuse('the master that launched this task gives roles no ids: upgrade it, or ask for no user namespace')
  if (!isRangeOfRole(ids)) throw refuse(`the ${ids.count} ids from ${ids.first} on are none that a role can have`)
  const over = [uid, gid, ...additionalGids].find((id) => id >= ids.count)
  if (over !== undefined)
    throw refuse(`a user namespace has the ids 0 to ${ids.count - 1}: the user or group ${over} has no place in it`)
  return ids
}

/** The task's words replace the image's command, never its entry point (image-spec, "Entrypoint" and "Cmd"). */
function argumentsOf(process: Process | null, image: ResolvedImage): readonly string[] {
  const given = process?.arguments ?? []
  const all = [...image.entrypoint, ...(given.length > 0 ? given : image.command)]
  if (all.length === 0) {
    throw new Fault('invalid', `image ${image.reference} names no program; say which one to run`, { reason: 'task_invalid' })
  }
  return all
}

function environmentOf(row: TaskRow, task: TaskDefinition, image: ResolvedImage): readonly string[] {
  return [
    `PATH=${defaultPath}`,
    ...(task.process?.terminal ? ['TERM=xterm'] : []),
    ...image.environment,
    `HEARTH_TASK_ID=${task.taskId}`,
    `HEARTH_FRAMEWORK_ID=${row.group?.frameworkId ?? ''}`,
    `HEARTH_CONTAINER_ID=${row.containerId}`,
    ...(task.process?.environment ?? []).map((e) => `${e.name}=${e.value}`)
  ]
}

/** An image that says nothing starts in the sandbox if it is the built-in one, else at the root. */
function workingDirectoryOf(process: Process | null, image: ResolvedImage): string {
  const wanted = process?.workingDirectory || image.workingDirectory || (image.reference === 'host' ? sandboxMountPoint : '/')
  if (wanted.startsWith('/')) return wanted
  throw new Fault('invalid', `the working directory ${JSON.stringify(wanted)} is not absolute`, { reason: 'task_invalid' })
}

/** Of a `file:` the path that it leads to, which the node's operator and the tenant have to allow as they would a mount. */
export function allowedArtifacts(config: Pick<RequestConfig, 'allowedMounts'>, row: TaskRow): readonly Artifact[] {
  const task = onlyTask(row)
  checkArtifacts(task.artifacts)
  const artifacts = task.artifacts.map((artifact): Artifact => {
    const path = filePathOf(artifact.url)
    if (path === undefined) return artifact
    const { source } = allowedMount(config.allowedMounts, { source: path, target: '/', readOnly: true })
    return { ...artifact, url: pathToFileURL(source).href, target: targetOf(artifact) }
  })
  checkPolicy(row, { ...task, artifacts })
  return artifacts
}

function allowedMount(allowed: readonly string[], mount: MountRequest): MountRequest {
  const refuse = (why: string): Fault => new Fault('invalid', why, { reason: 'unsupported_request', source: mount.source })
  if (!mount.target.startsWith('/')) throw refuse(`the mount target ${JSON.stringify(mount.target)} is not absolute`)
  let real: string
  try {
    real = realpathSync(mount.source)
  } catch {
    throw refuse(`${mount.source} does not exist on this node`)
  }
  const inside = allowed.some((root) => real === root || real.startsWith(root === '/' ? '/' : `${root}/`))
  if (!inside) {
    const permitted = allowed.length === 0 ? 'no host folders' : `only ${allowed.join(', ')}`
    throw refuse(
      `this node’s operator lets tasks mount ${permitted}; to allow ${real}, start Hearth with HEARTH_ALLOW_MOUNT=${real} hearth up`
    )
  }
  return { ...mount, source: real }
}
