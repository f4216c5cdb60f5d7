import { Fault } from '../../base/fault.ts'
import { completeMessage } from '../../proto/codec.ts'
import type { TaskDefinition } from '../../proto/gen/messages.ts'
import { anyRole, role } from '../../proto/ids.ts'
import { capabilitiesFor } from '../../proto/limits.ts'
import { checkPod, podCapability } from '../../proto/pods.ts'
import { addResources, type Resources } from '../../proto/resources.ts'
import { levelOfPods } from '../state/cluster.ts'
import type { Tenants } from '../tenants.ts'
import type { ClusterFacts, NodeDirectory, PodOrder } from './ports.ts'
import { checkAbility, checkCanFit, orderOf, type TaskRequest } from './task-request.ts'

/** What is said of the whole pod is said of none of its containers. */
interface ContainerRequest extends Omit<TaskRequest, 'role' | 'network' | 'removeWhenDone' | 'name'> {
  readonly name: string
  readonly part?: 'init' | 'sidecar' | 'main'
}

/** The body of `POST /v1/tasks/pods`, as its schema lets it through. */
export interface PodRequest extends Pick<TaskRequest, 'role' | 'network' | 'removeWhenDone'> {
  readonly name: string
  readonly shareProcesses?: boolean
  readonly containers: readonly ContainerRequest[]
}

const longestTaskId = 255

/** Its tasks are called POD.CONTAINER. Throws `Fault('invalid')` or `unsupported` for what can be no pod. */
export function podOrderOf(request: PodRequest): PodOrder {
  const { name: pod, network, removeWhenDone = false, shareProcesses = false } = request
  const definitions = request.containers.map(({ part = 'main', ...container }): TaskDefinition => {
    const name = `${pod}.${container.name}`
    if (name.length > longestTaskId) throw new Fault('invalid', `${name} is longer than ${longestTaskId} characters: shorten it`)
    const { definition } = orderOf({ ...container, name, removeWhenDone, ...(network === undefined ? {} : { network }) })
    return completeMessage('TaskDefinition', { ...definition, taskId: name, part })
  })
  checkPod({ tasks: definitions, shareProcesses })
  return { definitions, role: role(request.role ?? anyRole), shareProcesses, removeWhenDone }
}

interface Checks {
  readonly nodes: Pick<NodeDirectory, 'nodes'>
  readonly tenants: Pick<Tenants, 'refusal'>
  readonly facts: () => Pick<ClusterFacts, 'featureLevel'>
}

/** Throws where this cluster can never run the pod: `unsupported`, `denied` by a tenant's policy, or `invalid`. */
export function checkOrder({ nodes, tenants, facts }: Checks, { definitions, role }: PodOrder): void {
  if (facts().featureLevel < levelOfPods) {
    const why = 'a master of an earlier version would launch the containers of a pod apart'
    throw new Fault('unsupported', `${why}: upgrade every master first`)
  }
  for (const definition of definitions) {
    const refusal = tenants.refusal(role, definition)
    if (refusal !== undefined) throw new Fault('denied', `${definition.name}: ${refusal}`, { reason: 'policy_refused' })
  }
  const needs = new Set([podCapability, ...definitions.flatMap(capabilitiesFor)])
  checkAbility([...needs], nodes.nodes())
  const whole = definitions.reduce<Resources>((sum, { resources }) => addResources(sum, resources), [])
  checkCanFit(whole, nodes.nodes())
}
