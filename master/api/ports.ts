import type { Init } from '../../proto/codec.ts'
import type { KillPolicy, Resize, TaskDefinition, TaskStatus } from '../../proto/gen/messages.ts'
import type { ShownTaskState } from '../../proto/task-state.ts'
import type { LeaseFacts } from '../leases/lease-facts.ts'
import type { AgentLink } from '../link.ts'
import type { NodeView } from '../nodes.ts'

/** What the operator API needs of the rooms behind it. */

export interface TaskView {
  readonly taskId: string
  readonly frameworkId: string
  readonly role: string
  readonly definition: TaskDefinition
  readonly createdAtMs: number
  readonly removeWhenDone: boolean
  readonly state: ShownTaskState
  readonly status: TaskStatus | null
  readonly message: string
  readonly startedAtMs: number | null
  readonly endedAtMs: number | null
}

export interface TaskOrder {
  readonly definition: Init<TaskDefinition>
  readonly role: string
  readonly removeWhenDone: boolean
}

export interface PodOrder {
  /** Each with its name, in the order of the pod. */
  readonly definitions: readonly TaskDefinition[]
  readonly role: string
  readonly shareProcesses: boolean
  readonly removeWhenDone: boolean
}

export interface TaskService {
  /** Under which its tasks are known to the nodes. */
  readonly frameworkId: string
  run(order: TaskOrder): Promise<TaskView>
  runPod(order: PodOrder): Promise<readonly TaskView[]>
  list(): readonly TaskView[]
  get(taskId: string): TaskView | undefined
  kill(taskId: string, policy: KillPolicy | undefined): Promise<TaskView>
  update(taskId: string, resize: Resize): Promise<TaskView>
  remove(taskId: string, force: boolean, signal: AbortSignal): Promise<void>
  waitEnded(taskId: string, signal: AbortSignal): Promise<TaskView>
  waitStarted(taskId: string, signal: AbortSignal): Promise<TaskView>
}

export interface NodeDirectory {
  nodes(): readonly NodeView[]
  node(nodeId: string): NodeView | undefined
  link(nodeId: string): AgentLink | undefined
}

/** How it is with the lease of a task that has one. */
export type LeaseDirectory = (frameworkId: string, taskId: string) => LeaseFacts

export interface NodeRemover {
  remove(nodeId: string, force: boolean, signal: AbortSignal): Promise<void>
}

/** Where a task is, or was. */
export interface Whereabouts {
  locate(frameworkId: string, taskId: string, signal: AbortSignal): Promise<string>
  locateNow(frameworkId: string, taskId: string): string | undefined
}

export interface ClusterFacts {
  readonly clusterId: string
  readonly nodeId: string
  readonly term: number
  readonly index: number
  readonly featureLevel: number
  readonly epoch: number
}
