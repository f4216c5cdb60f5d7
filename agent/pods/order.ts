import type { TaskStatus } from '../../proto/gen/messages.ts'
import type { Part } from '../../proto/pods.ts'
import { isTerminal } from '../../proto/task-state.ts'

/** In which order the containers of a pod begin and end. Pure: what the ledger says of them is all there is to know. */

/** One container of a pod. One whose task was forgotten has ended long ago, and is not there any more. */
export interface Seated {
  readonly containerId: string
  readonly taskId: string
  readonly part: Part
  /** Its probes have to find it ready before others count on it. */
  readonly isProbed: boolean
  readonly latest: TaskStatus | null
  readonly killAsked: boolean
}

interface PodStep {
  /** May begin now, if they have not. */
  readonly begin: readonly string[]
  /** Have to end, and why. */
  readonly end: readonly { readonly containerId: string; readonly why: string }[]
}

type State = 'waits' | 'begun' | 'good' | 'bad'

/**
 *   sandbox -> init, one after the other -> side-cars, each ready before the next -> the main ones at once
 *
 * The pod is over when all main ones have ended, when one of them or an init container ends badly, when a side-car does that the main
 * ones still wait for, when the end of any is asked for, and without its sandbox. Then the main ones end, after them the side-cars in reverse
 * order, and the sandbox last. `sandbox` is undefined where no record tells of it.
 */
export function podStep(sandbox: Seated | undefined, seated: readonly Seated[]): PodStep {
  const why = whyOver(sandbox, seated)
  if (why !== undefined) return { begin: [], end: endOf(sandbox, seated, why) }
  const begin: string[] = sandbox === undefined ? [] : [sandbox.containerId]
  if (sandbox === undefined || stateOf(sandbox) !== 'begun') return { begin, end: [] }
  for (const part of ['init', 'sidecar'] as const) {
    for (const one of seated.filter((s) => s.part === part)) {
      begin.push(one.containerId)
      if (!isPassed(one)) return { begin, end: [] }
    }
  }
  return { begin: [...begin, ...idsOf(seated, 'main')], end: [] }
}

const idsOf = (seated: readonly Seated[], part: Part): readonly string[] =>
  seated.flatMap((s) => (s.part === part ? [s.containerId] : []))

function stateOf({ latest }: Seated): State {
  if (latest === null || latest.state === 'unspecified_state') return 'waits'
  if (isTerminal(latest.state)) return latest.state === 'finished' ? 'good' : 'bad'
  return latest.state === 'running' || latest.state === 'killing' ? 'begun' : 'waits'
}

const hasEnded = (one: Seated): boolean => stateOf(one) === 'good' || stateOf(one) === 'bad'

/** What comes after it may begin. */
function isPassed(one: Seated): boolean {
  if (one.part === 'init') return stateOf(one) === 'good'
  return hasEnded(one) || (stateOf(one) === 'begun' && (!one.isProbed || one.latest?.ready === true))
}

function whyOver(sandbox: Seated | undefined, seated: readonly Seated[]): string | undefined {
  const asked = seated.find((s) => s.killAsked)
  if (asked !== undefined) return `the end of ${asked.taskId} was asked for`
  const failed = seated.find((s) => isFatal(s, seated))
  if (failed !== undefined) return `${wordOf[failed.part]}${failed.taskId} ${toldOf(failed)}`
  if (sandbox === undefined || hasEnded(sandbox)) return 'the container that holds what its containers share is gone'
  return seated.every((s) => s.part !== 'main' || hasEnded(s)) ? '' : undefined
}

/** One that was ended because the pod was over is not why. */
function isFatal(one: Seated, seated: readonly Seated[]): boolean {
  if (stateOf(one) !== 'bad' || one.latest?.reason === 'pod_ended') return false
  if (one.part !== 'sidecar') return true
  const served = hasRun(one) && !one.isProbed
  return !served && !seated.some((s) => s.part === 'main' && hasRun(s))
}

const hasRun = ({ latest }: Seated): boolean => (latest?.startedAtMs ?? 0) > 0

const wordOf: Readonly<Record<Part, string>> = { init: 'the init container ', sidecar: 'the side-car ', main: '' }

function toldOf({ latest }: Seated): string {
  const message = latest?.message ?? ''
  const state = latest?.state === 'killed' ? 'was killed' : (latest?.state ?? 'failed')
  return message === '' ? state : `${state}: ${message}`.slice(0, 300)
}

function endOf(sandbox: Seated | undefined, seated: readonly Seated[], cause: string): PodStep['end'] {
  const why = cause === '' ? 'ended with its pod: all main containers have ended' : `ended with its pod: ${cause}`
  const ended = (some: readonly Seated[]): PodStep['end'] => some.map(({ containerId }) => ({ containerId, why }))
  const alive = seated.filter((s) => !hasEnded(s))
  const first = alive.filter((s) => s.part !== 'sidecar' || stateOf(s) === 'waits')
  if (first.length > 0 || sandbox === undefined || hasEnded(sandbox)) return ended(first.length > 0 ? first : alive)
  const last = alive.at(-1) ?? sandbox
  return ended([last])
}
