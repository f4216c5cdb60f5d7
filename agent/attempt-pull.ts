import { type Clock, within } from '../base/clock.ts'
import { Fault, isFault } from '../base/fault.ts'
import type { Runtime } from '../isolators/runtime/runtime.ts'
import type { TaskRow } from '../proto/gen/messages.ts'
import type { AttemptReport } from './attempt-report.ts'
import type { FoundArtifact } from './images/artifacts.ts'
import type { ImageStore, PullWish } from './ports.ts'
import { allowedArtifacts, onlyTask, type RequestConfig } from './task-request.ts'

interface PullParts {
  readonly runtime: Pick<Runtime, 'images'>
  readonly images: Pick<ImageStore, 'fetch' | 'artifacts'>
  readonly clock: Clock
  /** By it the master hears what the task waits for. */
  readonly report: Pick<AttemptReport, 'tell'>
}

/** Less than the master gives a launch to begin to run (`startMs`). */
const pullDeadlineMs = 840_000
const tellEveryMs = 10_000

/** All that a launch needs from elsewhere: its image, and the files that are to lie in its sandbox. */
export async function fetchAll(
  parts: PullParts,
  config: RequestConfig,
  row: TaskRow,
  signal: AbortSignal
): Promise<readonly FoundArtifact[]> {
  const artifacts = allowedArtifacts(config, row)
  await fetchImage(parts, row, signal)
  try {
    return await parts.images.artifacts.fetch(artifacts, within(pullDeadlineMs, signal))
  } catch (e) {
    signal.throwIfAborted()
    if (!(e instanceof Error && e.name === 'TimeoutError')) throw e
    const minutes = pullDeadlineMs / 60_000
    throw new Fault('timeout', `the task’s artifacts did not come within ${minutes} minutes`, { reason: 'artifact_failed' }, e)
  }
}

/**
 * The image on this node: pulled where it is not, unless the task forbids it. Comes before the launch takes its turn, so that no other
 * one waits behind a pull. A pull that fails for the world's sake ends the task with `image_pull_failed`.
 */
async function fetchImage(parts: PullParts, row: TaskRow, signal: AbortSignal): Promise<void> {
  const { image, pull } = onlyTask(row)
  const signatures = row.group?.policy?.signatures ?? []
  // A restart in place must not depend on a registry.
  const policy = pull === 'never' || (pull === 'always' && row.previousContainerId === '') ? pull : 'missing'
  const teller = new PullTeller(parts, image)
  try {
    const images = parts.runtime.images(row.containerId) ?? parts.images
    await images.fetch(image, { policy, signatures, onProgress: teller.onProgress }, within(pullDeadlineMs, signal))
  } catch (e) {
    signal.throwIfAborted()
    if (e instanceof Error && e.name === 'TimeoutError') {
      throw new Fault('timeout', `${image} was not pulled within ${pullDeadlineMs / 60_000} minutes`, pullFailed, e)
    }
    if (isFault(e) && worldly.has(e.code)) throw new Fault(e.code, e.message, { ...e.detail, ...pullFailed }, e)
    throw e
  } finally {
    await teller.told
  }
}

const pullFailed = { reason: 'image_pull_failed' } as const
const worldly: ReadonlySet<Fault['code']> = new Set(['unavailable', 'timeout', 'denied'])

/** One status at the beginning of a pull and one every so often: each of them goes to the disk. */
class PullTeller {
  readonly #parts: PullParts
  readonly #image: string
  #nextMs = 0
  told: Promise<void> = Promise.resolve()

  constructor(parts: PullParts, image: string) {
    this.#parts = parts
    this.#image = image
  }

  readonly onProgress: PullWish['onProgress'] = ({ archiveBytes, totalBytes }) => {
    const now = this.#parts.clock.monotonicMs()
    if (now < this.#nextMs) return
    this.#nextMs = now + tellEveryMs
    const much = totalBytes === 0 ? '' : ` (${Math.min(99, Math.floor((archiveBytes * 100) / totalBytes))} %)`
    this.told = this.#parts.report.tell('starting', { message: `pulling ${this.#image}${much}` }).catch(() => undefined) // the next one tells it
  }
}
