import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { Fault } from '../../base/fault.ts'
import { completeMessage } from '../../proto/codec.ts'
import { role as parseRole } from '../../proto/ids.ts'
import { capabilitiesFor } from '../../proto/limits.ts'
import type { Resources } from '../../proto/resources.ts'
import { noLeasesYet } from '../launch-check.ts'
import { levelOfLeases } from '../state/cluster.ts'
import type { Tenants } from '../tenants.ts'
import { keeperOf } from './kept-logs.ts'
import { checkOrder, type PodRequest, podOrderOf } from './pod-request.ts'
import type { ClusterFacts, LeaseDirectory, NodeDirectory, TaskService, TaskView, Whereabouts } from './ports.ts'
import { clientSignal, linkTo, relay } from './relay.ts'
import { forceQuery, idParams, killRequestSchema, podRequestSchema, taskRequestSchema, updateRequestSchema } from './schemas.ts'
import { type TaskJson, taskJson } from './task-json.ts'
import { checkAbility, checkCanFit, knownSignal, orderOf, type TaskRequest } from './task-request.ts'
import { resizeOf, type UpdateRequest } from './task-update.ts'

export interface TaskRouteParts {
  readonly tasks: TaskService
  readonly nodes: NodeDirectory
  readonly whereabouts: Whereabouts
  readonly tenants: Pick<Tenants, 'refusal'>
  readonly facts: () => Pick<ClusterFacts, 'featureLevel'>
  readonly leases: LeaseDirectory
}

interface TaskParams {
  readonly id: string
}

const params = idParams('id')

export function taskRoutes(app: FastifyInstance, parts: TaskRouteParts): void {
  const { tasks, nodes, tenants, leases, facts } = parts
  const shown = (task: TaskView): TaskJson =>
    taskJson(task, nodes.node(task.status?.agentId ?? '')?.hostname, leases(task.frameworkId, task.taskId))

  app.post('/v1/tasks', { schema: { summary: 'Run a task', body: taskRequestSchema } }, async (request, reply) => {
    const order = orderOf(request.body as TaskRequest)
    const asked = completeMessage('TaskDefinition', order.definition)
    const refusal = tenants.refusal(order.role, asked)
    if (refusal !== undefined) throw new Fault('denied', refusal, { reason: 'policy_refused' })
    if (asked.lease !== null && facts().featureLevel < levelOfLeases) throw new Fault('unsupported', noLeasesYet)
    checkAbility(capabilitiesFor(asked), nodes.nodes())
    checkCanFit((order.definition.resources ?? []) as Resources, nodes.nodes())
    return reply.code(201).send(shown(await tasks.run(order)))
  })

  const pod = {
    schema: { summary: 'Run a pod: several tasks that share a network and live and die together', body: podRequestSchema }
  }
  app.post('/v1/tasks/pods', pod, async (request, reply) => {
    const order = podOrderOf(request.body as PodRequest)
    checkOrder(parts, order)
    const run = await tasks.runPod(order)
    return reply.code(201).send({ tasks: run.map(shown) })
  })

  const ofRole = { type: 'object', additionalProperties: false, properties: { role: { type: 'string', maxLength: 1024 } } }
  const list = { schema: { summary: 'All tasks, or those of one role', querystring: ofRole } }
  app.get('/v1/tasks', list, async (request) => {
    const wanted = (request.query as { readonly role?: string }).role
    const role = wanted === undefined ? undefined : parseRole(wanted)
    return { tasks: tasks.list().flatMap((task) => (role === undefined || task.role === role ? [shown(task)] : [])) }
  })

  app.get('/v1/tasks/:id', { schema: { summary: 'One task', params } }, async (request) => shown(taskOf(tasks, request)))

  const until = { type: 'object', additionalProperties: false, properties: { until: { enum: ['started', 'ended'] } } }
  const wait = { schema: { summary: 'The task, once it has ended, or once it runs', params, querystring: until } }
  app.get('/v1/tasks/:id/wait', wait, async (request, reply) => {
    const { taskId } = taskOf(tasks, request)
    const started = (request.query as { readonly until?: string }).until === 'started'
    return shown(await (started ? tasks.waitStarted(taskId, clientSignal(reply)) : tasks.waitEnded(taskId, clientSignal(reply))))
  })

  const kill = {
    schema: { summary: 'End a task', params, body: killRequestSchema },
    preValidation: async (request: FastifyRequest) => {
      request.body ??= {} // Everything in it is optional, and so is the body.
    }
  }
  app.post('/v1/tasks/:id/kill', kill, async (request, reply) => {
    const task = taskOf(tasks, request)
    const { signal, graceMs } = request.body as { readonly signal?: string; readonly graceMs?: number }
    const own = task.definition.killPolicy
    const policy = { signal: knownSignal(signal) || (own?.signal ?? ''), graceMs: graceMs ?? own?.graceMs ?? 10_000 }
    return reply.code(202).send(shown(await tasks.kill(task.taskId, policy)))
  })

  const update = { schema: { summary: 'Change the limits of a task', params, body: updateRequestSchema } }
  app.post('/v1/tasks/:id/update', update, async (request) => {
    const { taskId, definition } = taskOf(tasks, request)
    return shown(await tasks.update(taskId, resizeOf(definition, request.body as UpdateRequest)))
  })

  const remove = {
    schema: { summary: 'Remove an ended task and its files; its node keeps its log for a while', params, querystring: forceQuery }
  }
  app.delete('/v1/tasks/:id', remove, async (request, reply) => {
    const forced = (request.query as { readonly force?: string }).force === 'true'
    await tasks.remove(taskOf(tasks, request).taskId, forced, clientSignal(reply))
    return reply.code(204).send()
  })
}

/** Routes whose bodies pass through as they are; to be registered where no body is parsed. */
export function taskStreamRoutes(app: FastifyInstance, parts: TaskRouteParts): void {
  const route = (
    method: 'GET' | 'POST' | 'PUT',
    tail: string,
    summary: string,
    waits: (request: FastifyRequest) => boolean
  ): void => {
    app.route({
      method,
      url: `/v1/tasks/:id/${tail}`,
      schema: { summary, params },
      handler: (request, reply) => passOn(parts, tail, waits(request), request, reply)
    })
  }
  const follows = (request: FastifyRequest): boolean => {
    const { follow } = request.query as { readonly follow?: string }
    return follow !== undefined && follow !== 'false' && follow !== '0'
  }
  route('GET', 'explain', 'Why the task ended', () => false)
  route('GET', 'stats', 'What the task uses and waits for', () => false)
  route('GET', 'logs', 'What the task wrote, as stream frames', follows)
  route('POST', 'exec', 'Run a program inside, duplex stream frames', () => false)
  route('POST', 'attach', 'The task’s terminal or standard streams, duplex stream frames', () => true)
  route('GET', 'files', 'A folder of the sandbox', () => false)
  route('GET', 'archive', 'A tar of a file or folder of the sandbox', () => false)
  route('PUT', 'archive', 'Unpack a tar into the sandbox', () => false)
}

async function passOn(
  parts: TaskRouteParts,
  tail: string,
  waits: boolean,
  request: FastifyRequest,
  reply: FastifyReply
): Promise<void> {
  const signal = clientSignal(reply)
  const { id } = request.params as TaskParams
  if (tail === 'logs' && parts.tasks.get(id) === undefined) {
    await passKeptLog(parts, id, request, reply, signal)
    return
  }
  const task = taskOf(parts.tasks, request)
  const nodeId = await nodeOf(parts, task, waits, signal)
  const path = `/v1/tasks/${encodeURIComponent(task.frameworkId)}/${encodeURIComponent(task.taskId)}/${tail}`
  await relay(linkTo(parts.nodes, nodeId), path, request, reply, signal)
}

/** Of a task that was removed: its node may keep it still. */
async function passKeptLog(
  { nodes, tasks }: TaskRouteParts,
  id: string,
  request: FastifyRequest,
  reply: FastifyReply,
  signal: AbortSignal
): Promise<void> {
  const named = `${encodeURIComponent(tasks.frameworkId)}/${encodeURIComponent(id)}`
  const { attempt } = request.query as { readonly attempt?: string }
  const asked = attempt === undefined ? '' : `?attempt=${encodeURIComponent(attempt)}`
  const keeper = await keeperOf(nodes, `/v1/kept-logs/${named}${asked}`, id, signal)
  await relay(keeper, `/v1/tasks/${named}/logs`, request, reply, signal)
}

/** Where the task is; a follower waits for its placement, and is told when it ended without one. */
async function nodeOf(parts: TaskRouteParts, task: TaskView, waits: boolean, signal: AbortSignal): Promise<string> {
  const { whereabouts, tasks } = parts
  const { frameworkId, taskId } = task
  const now = whereabouts.locateNow(frameworkId, taskId)
  if (now !== undefined) return now
  const never = new Fault('not-found', `task ${taskId} never ran on a node, so there is nothing of it to show`)
  if (task.endedAtMs !== null) throw never
  if (!waits) {
    const why = task.message === '' ? 'it is being placed' : `it ${task.message}`
    throw new Fault('unavailable', `task ${taskId} does not run yet: ${why}`)
  }
  const settled = new AbortController()
  const either = AbortSignal.any([signal, settled.signal])
  try {
    const found = await Promise.race([
      whereabouts.locate(frameworkId, taskId, either),
      tasks.waitEnded(taskId, either).then(() => whereabouts.locateNow(frameworkId, taskId))
    ])
    if (found === undefined) throw never
    return found
  } finally {
    settled.abort(new Fault('unavailable', 'no longer waited for'))
  }
}

function taskOf(tasks: TaskService, request: FastifyRequest): TaskView {
  const { id } = request.params as TaskParams
  const task = tasks.get(id)
  if (task === undefined)
    throw new Fault('not-found', `there is no task named ${id}; hearth task list shows them all`, { taskId: id })
  return task
}
