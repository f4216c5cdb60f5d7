import type { TaskStatus } from '../../../proto/gen/messages.ts'

/** What must be true, as the campaign knows it from what it asked for. */
export interface Expected {
  readonly tasks: readonly ExpectedTask[]
  /** Containers that pods share namespaces by: they have ended with their tasks, and are kept until all of them are forgotten. */
  readonly sandboxes?: readonly string[]
  /** Everything that the master was told, in the order in which it came, repeats included. */
  readonly statuses: readonly ReceivedStatus[]
  /** Whether an agent runs: then its own process, and its cgroup, are no orphans. */
  readonly agentRuns: boolean
}

export interface ReceivedStatus {
  readonly status: TaskStatus
  /** Of the message as it came over the wire. */
  readonly digest: string
}

export interface ExpectedEnd {
  readonly state: TaskStatus['state']
  readonly reason: TaskStatus['reason']
  readonly exitCode?: number
}

/** One attempt of one task. */
export interface ExpectedTask {
  readonly taskId: string
  readonly containerId: string
  /**
   * `running`: its program runs under one monitor, and nothing says that it ended. `ended`: one end was told, and nothing is left
   * but its sandbox and log. `forgotten`: ended, and not even those are left.
   */
  readonly wanted: 'running' | 'ended' | 'forgotten'
  /** The ends that may be told. */
  readonly ends: readonly ExpectedEnd[]
  /** How often its program must have begun at least: 0 where its end may come before. At most is always 1. */
  readonly executionsLeast: 0 | 1
  /** How many processes it has while it runs, where that is known. */
  readonly processes?: number
  /** Its standard output counts 1, 2, 3 ... up to what its mark says. `cut`: it may be larger than its budget. */
  readonly counts?: { readonly cut: boolean }
  /** The verdict that the last status must carry where the task is probed. */
  readonly ready?: boolean
}
