import { errnoOf, Fault } from '../../base/fault.ts'
import { AgentClient, isAway } from '../../sdk/agent-client.ts'
import type { CommonOptions, Context } from '../context.ts'
import { stateLayout } from '../state-layout.ts'

/** Asks the agent of this host; where nobody answers on its socket, `otherwise` with the reason. */
export async function atHome<T>(
  context: Context,
  options: CommonOptions,
  ask: (agent: AgentClient) => Promise<T>,
  otherwise: (why: string) => Promise<T>
): Promise<T> {
  const { agentSocket } = stateLayout(context.settings(options).stateDir)
  try {
    return await ask(new AgentClient(agentSocket))
  } catch (e) {
    if (!isAway(e)) throw e
    const errno = errnoOf(e.cause)
    return await otherwise(errno === 'ENOENT' ? `there is no ${agentSocket}` : `${agentSocket} refuses (${errno})`)
  }
}

/** For what only a running agent can tell. */
export const noAgent = (why: string): Promise<never> =>
  Promise.reject(new Fault('unavailable', `no agent answers: ${why}; start it with: sudo hearth up`))
