import { mkdir } from 'node:fs/promises'
import { Fault } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import type { BundlePart, Isolator, IsolatorRequest } from '../isolators/isolator.ts'
import { buildSpec } from '../isolators/runtime/oci/spec.ts'
import type { RunningContainer, Runtime } from '../isolators/runtime/runtime.ts'
import type { TaskRow } from '../proto/gen/messages.ts'
import type { AttemptObjects } from './attempt-objects.ts'
import { logBudgetDefaults, unattendedLogBytes } from './logs/rotation.ts'
import type { ImageStore, Ledger } from './ports.ts'
import { cleanUpAll, prepareAll } from './prepare.ts'
import { bundleOf, fullRequest, logOf, onlyTask, type RequestConfig, sandboxOf, type User } from './task-request.ts'

export interface LaunchParts {
  readonly ledger: Pick<Ledger, 'low'>
  readonly images: ImageStore
  readonly runtime: Runtime
  readonly isolators: readonly Isolator[]
  resolveUser(user: string, layers: readonly string[]): Promise<User>
}

interface LaunchConfig extends RequestConfig {
  readonly agentId: string
}

export interface PreparedAttempt {
  readonly request: IsolatorRequest
  readonly parts: readonly BundlePart[]
}

/** The image, the user and each isolator's part of the bundle; all or nothing. */
export async function prepareAttempt(
  parts: LaunchParts,
  config: LaunchConfig,
  of: { readonly row: TaskRow; readonly objects: AttemptObjects; readonly log: Log },
  signal: AbortSignal
): Promise<PreparedAttempt> {
  const { row, objects, log } = of
  const task = onlyTask(row)
  const image = await parts.images.resolve(task.image, signal)
  const user = await parts.resolveUser(task.process?.user || image.user, image.layers)
  const request = fullRequest(config, row, image, user, objects.intendMade)
  await objects.intend(image.digest)
  await mkdir(sandboxOf(config, row.containerId), { recursive: true, mode: 0o711 })
  return { request, parts: await prepareAll(parts.isolators, request, log, signal) }
}

/** Hands the bundle to the runtime. A start that fails leaves no wall standing. */
export async function startAttempt(
  parts: LaunchParts,
  config: LaunchConfig,
  of: { readonly row: TaskRow; readonly prepared: PreparedAttempt; readonly log: Log },
  signal: AbortSignal
): Promise<RunningContainer> {
  const { row, prepared, log } = of
  const task = onlyTask(row)
  const { containerId } = row
  try {
    if (parts.ledger.low) {
      // What the ledger kept free is for endings, not for one launch more.
      throw new Fault('exhausted', 'no space is left on the node’s disk', { reason: 'disk_full' })
    }
    return await parts.runtime.launch(
      {
        containerId,
        bundleDir: bundleOf(config, containerId),
        config: buildSpec(prepared.request, prepared.parts, annotationsOf(row, config.agentId)),
        logPath: logOf(config, containerId),
        logMaxBytes: unattendedLogBytes(task.logBudget ?? logBudgetDefaults),
        terminal: task.process?.terminal ?? false,
        openStdin: task.process?.openStdin ?? false,
        runtime: task.runtime === 'crun' ? 'crun' : 'runc'
      },
      signal
    )
  } catch (cause) {
    await cleanUpAll([...parts.isolators].reverse(), prepared.request, log)
    throw cause
  }
}

/** Enough to rebuild the ledger from what runs. */
const annotationsOf = (row: TaskRow, agentId: string): Readonly<Record<string, string>> => ({
  'org.hearth.agent': agentId,
  'org.hearth.framework': row.group?.frameworkId ?? '',
  'org.hearth.task': row.group?.tasks[0]?.taskId ?? '',
  'org.hearth.attempt': String(row.attempt),
  'org.hearth.spec-digest': row.specDigest
})
