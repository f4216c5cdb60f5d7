import { Fault, isFault, isFaultCode } from '../base/fault.ts'
import type { Log } from '../base/log.ts'
import { encodeMessage } from '../proto/codec.ts'
import type { Resize } from '../proto/gen/messages.ts'
import { checkLimits } from '../proto/limits.ts'
import { addResources, containsResources, describeResources, type Resources } from '../proto/resources.ts'
import type { Allocation } from './allocation.ts'
import type { AgentLink, RelayResponse } from './link.ts'
import type { LiveTask, LiveTasks } from './live-tasks.ts'
import type { Nodes } from './nodes.ts'

interface ResizingParts {
  readonly liveTasks: Pick<LiveTasks, 'task' | 'resize'>
  readonly nodes: Pick<Nodes, 'freeOn' | 'link' | 'node'>
  readonly allocation: Pick<Allocation, 'rescind'>
  readonly log: Log
}

/**
 * Other resources for a task that runs. What it grows by is taken before its node hears of it and what it shrinks by is free only
 * afterwards, so that nothing is ever promised twice. Nothing of it is committed: the node's ledger is the truth about what a task
 * has, and a new leader counts by what the nodes report.
 */
export class Resizing {
  readonly #parts: ResizingParts

  constructor(parts: ResizingParts) {
    this.#parts = parts
  }

  /** `sdk/scheduler-link.ts` says with what it rejects; `unavailable` where the node did not answer: then either may hold. */
  async resize(frameworkId: string, taskId: string, resize: Resize, signal: AbortSignal): Promise<void> {
    checkLimits(resize)
    const { liveTasks, nodes, log } = this.#parts
    const task = liveTasks.task(frameworkId, taskId)
    if (task === undefined || task.released || task.status.state !== 'running')
      throw new Fault('conflict', `task ${taskId} does not run, so its limits cannot be changed`, { taskId })
    const link = nodes.link(task.agentId)
    if (link === undefined)
      throw new Fault('unavailable', `the node of task ${taskId} is out of reach; try again when it is back`)
    const before = task.resources
    liveTasks.resize(task.containerId, this.#grown(task, resize.resources))
    try {
      await ask(link, frameworkId, taskId, resize, signal)
    } catch (e) {
      // Where nobody answered it keeps what it may have by now, until its node tells at its next registration.
      if (isFault(e) && e.detail['unanswered'] !== true) liveTasks.resize(task.containerId, before)
      throw e
    }
    liveTasks.resize(task.containerId, resize.resources)
    log.info({ frameworkId, taskId, resources: resize.resources }, 'task.resized')
  }

  /** The larger of each. Throws `Fault('exhausted')` where the node has not so much free. */
  #grown({ agentId, resources }: LiveTask, wanted: Resources): Resources {
    const more = missingFrom(resources, wanted)
    if (more.length === 0) return resources
    // What is on offer there is nobody's yet.
    this.#parts.allocation.rescind(agentId)
    const free = this.#parts.nodes.freeOn(agentId)
    if (containsResources(free, more)) return addResources(resources, more)
    const { hostname = agentId } = this.#parts.nodes.node(agentId) ?? {}
    const has = describeResources(free.filter(({ name }) => more.some((r) => r.name === name)))
    throw new Fault('exhausted', `node ${hostname} has ${has} free, and the task would need ${describeResources(more)} more`)
  }
}

/** By how much each scalar of `b` is above that of `a`. */
function missingFrom(a: Resources, b: Resources): Resources {
  return addResources([], b).flatMap((wanted) => {
    const held = a.find((r) => r.name === wanted.name && r.kind === wanted.kind)
    if (wanted.kind !== 'scalar') return []
    const scalar = wanted.scalar - (held?.scalar ?? 0)
    return scalar > 0 ? [{ ...wanted, scalar }] : []
  })
}

async function ask(link: AgentLink, frameworkId: string, taskId: string, resize: Resize, signal: AbortSignal): Promise<void> {
  const path = `/v1/tasks/${encodeURIComponent(frameworkId)}/${encodeURIComponent(taskId)}/limits`
  let answer: RelayResponse
  let text: string
  try {
    answer = await link.open({ method: 'POST', path, body: encodeMessage('Resize', resize) }, signal)
    text = await textOf(answer.body)
  } catch (e) {
    throw new Fault(
      'unavailable',
      `the node of task ${taskId} did not answer: look at the task before you try again`,
      { unanswered: true },
      e
    )
  }
  if (answer.status === 200) return
  const { error = {} } = JSON.parse(text) as { readonly error?: { readonly code?: string; readonly message?: string } }
  const { code = '', message = `the node answered ${answer.status}` } = error
  throw new Fault(isFaultCode(code) ? code : 'unavailable', message, { taskId })
}

async function textOf(body: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = []
  for await (const chunk of body) chunks.push(chunk)
  return Buffer.concat(chunks).toString('utf8')
}
