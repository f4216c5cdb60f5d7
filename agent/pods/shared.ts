import { chmodSync, mkdirSync, readlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { Fault } from '../../base/fault.ts'
import type { OciMount, SharedNamespace } from '../../isolators/isolator.ts'
import type { Runtime } from '../../isolators/runtime/runtime.ts'
import type { TaskRow } from '../../proto/gen/messages.ts'
import { podMountPoint } from '../../proto/pods.ts'
import { type RequestConfig, sandboxOf } from '../task-request.ts'
import { isSandbox } from './seat.ts'

/** What a container of a pod has in common with the others. */
interface Shared {
  readonly namespaces: readonly SharedNamespace[]
  readonly mounts: readonly OciMount[]
}

const nothing: Shared = { namespaces: [], mounts: [] }

/**
 * Of the sandbox container, which runs: as the kernel shows it now. Of the sandbox container itself nothing, but the folder for all is
 * made. Throws `Fault('unavailable')` where it does not run any more.
 */
export async function sharedOf(runtime: Pick<Runtime, 'inspect'>, config: RequestConfig, row: TaskRow): Promise<Shared> {
  if (row.pod === null) return nothing
  const folder = folderOf(config, row.pod.sandboxId)
  if (isSandbox(row)) {
    makeFolder(folder)
    return nothing
  }
  const seen = await runtime.inspect(row.pod.sandboxId)
  if (seen.kind !== 'running') throw gone()
  const { pid } = seen.container
  const namespaces = typesOf(row).map(([type, file]) => {
    const path = `/proc/${pid}/ns/${file}`
    return { type, path, identity: identityOf(path) }
  })
  const mount = {
    destination: podMountPoint,
    type: 'bind',
    source: folder,
    options: ['bind', 'rw', 'nosuid', 'nodev', 'rprivate']
  }
  return { namespaces, mounts: [mount] }
}

/** By their names in the OCI runtime spec and below /proc/PID/ns (namespaces(7)). On the node's network there is none to share. */
function typesOf({ group }: TaskRow): readonly (readonly [string, string])[] {
  return [
    ...(group?.tasks[0]?.network?.mode === 'none' ? [['network', 'net'] as const] : []),
    ['ipc', 'ipc'] as const,
    ...(group?.shareProcesses ? [['pid', 'pid'] as const] : [])
  ]
}

function identityOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    throw gone()
  }
}

/** Anybody inside may write there; nobody on the node gets through the folder above it. */
function makeFolder(folder: string): void {
  mkdirSync(dirname(folder), { recursive: true, mode: 0o700 })
  mkdirSync(folder, { recursive: true })
  chmodSync(folder, 0o1777)
}

const folderOf = (config: RequestConfig, sandboxId: string): string => join(sandboxOf(config, sandboxId), 'pod', 'files')

const gone = (): Fault => new Fault('unavailable', 'the container that holds what the pod shares is gone')
