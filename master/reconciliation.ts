import type { TaskReport } from '../proto/gen/messages.ts'
import { isTerminal } from '../proto/task-state.ts'

/** What the master has committed about a task of the agent that registers. */
export interface Expected {
  readonly frameworkId: string
  readonly taskId: string
  readonly containerId: string
  readonly ended: boolean
  /** The agent is known to have had the launch. */
  readonly delivered: boolean
  /** The launch can be sent again. */
  readonly held: boolean
}

export type Step =
  /** Committed and on the agent: take over what it says. */
  | { readonly kind: 'adopt'; readonly report: TaskReport }
  /** Ended on both sides; the agent keeps its log until it is told to forget. */
  | { readonly kind: 'keep'; readonly report: TaskReport }
  /** It runs there though the master has ended or forgotten it. */
  | { readonly kind: 'kill'; readonly report: TaskReport }
  | { readonly kind: 'forget'; readonly report: TaskReport }
  | { readonly kind: 'resend'; readonly containerId: string }
  /** Never got there. */
  | { readonly kind: 'drop'; readonly containerId: string }
  /** Was there and is there no more. */
  | { readonly kind: 'gone'; readonly containerId: string }

/** Compares what was committed for an agent with what its ledger says. Pure. `taken`: the task has an assignment anywhere. */
export function reconcile(
  expected: readonly Expected[],
  reports: readonly TaskReport[],
  taken: (frameworkId: string, taskId: string) => boolean
): readonly Step[] {
  const byContainer = new Map(expected.map((e) => [e.containerId, e]))
  const steps = reports.map((report): Step => {
    const ended = report.state !== 'unspecified_state' && isTerminal(report.state)
    const known = byContainer.get(report.containerId)
    if (known === undefined || known.ended) {
      if (!ended) return { kind: 'kill', report }
      return known === undefined && !taken(report.frameworkId, report.taskId)
        ? { kind: 'forget', report }
        : { kind: 'keep', report }
    }
    return { kind: 'adopt', report }
  })
  const reported = new Set(reports.map((r) => r.containerId))
  for (const e of expected) {
    if (e.ended || reported.has(e.containerId)) continue
    const { containerId } = e
    if (e.held) steps.push({ kind: 'resend', containerId })
    else steps.push({ kind: e.delivered ? 'gone' : 'drop', containerId })
  }
  return steps
}
