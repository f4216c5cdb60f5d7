import { within } from '../../base/clock.ts'
import { Fault, isFault } from '../../base/fault.ts'
import type { AgentLink } from '../link.ts'
import type { NodeDirectory } from './ports.ts'

/** Which node keeps the log of a task that was removed: nobody else knows of such a task, so the nodes are asked. */

const patienceMs = 5_000
const atOnce = 64
const mostAnswerBytes = 64 * 1024

interface Answer {
  readonly link: AgentLink
  readonly has: boolean
  /** Of one that is still there: later than any. */
  readonly removedAtMs: number
  readonly gone: string | undefined
}

/** The link to the one that has it; of several the one where it was removed last. Throws `Fault('not-found')` with what is known. */
export async function keeperOf(nodes: NodeDirectory, path: string, taskId: string, signal: AbortSignal): Promise<AgentLink> {
  const waiting = nodes.nodes().flatMap(({ nodeId }) => nodes.link(nodeId) ?? [])
  const until = within(patienceMs, signal)
  const answers: Answer[] = []
  const lane = async (): Promise<void> => {
    for (let link = waiting.shift(); link !== undefined; link = waiting.shift()) {
      const answer = await ask(link, path, until)
      if (answer !== undefined) answers.push(answer)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, lane))
  signal.throwIfAborted()
  const [newest] = answers.filter(({ has }) => has).sort((a, b) => b.removedAtMs - a.removedAtMs)
  if (newest !== undefined) return newest.link
  const gone = answers.find((answer) => answer.gone !== undefined)?.gone
  throw new Fault('not-found', gone ?? `there is no task named ${taskId}, and no connected node keeps a log of one`, { taskId })
}

/** Undefined where the node does not answer in time, or is of a version that keeps none. */
async function ask(link: AgentLink, path: string, signal: AbortSignal): Promise<Answer | undefined> {
  try {
    const { status, body } = await link.open({ method: 'GET', path, body: new Uint8Array() }, signal)
    const chunks: Uint8Array[] = []
    let bytes = 0
    for await (const chunk of body) {
      bytes += chunk.length
      if (bytes > mostAnswerBytes) return undefined
      chunks.push(chunk)
    }
    return status === 200 ? parseAnswer(link, Buffer.concat(chunks).toString('utf8')) : undefined
  } catch (e) {
    if (isFault(e) || signal.aborted) return undefined
    throw e
  }
}

function parseAnswer(link: AgentLink, text: string): Answer | undefined {
  try {
    const { has, removedAtMs, gone } = JSON.parse(text) as Readonly<Record<string, unknown>>
    return {
      link,
      has: has === true,
      removedAtMs: typeof removedAtMs === 'number' ? removedAtMs : Number.MAX_SAFE_INTEGER,
      gone: typeof gone === 'string' ? gone : undefined
    }
  } catch {
    return undefined // not what an agent says
  }
}
