import { isFault } from '../../base/fault.ts'
import type { Answer, RegisterAgent, Resource, SetAgentCondition } from '../../proto/gen/messages.ts'
import { checkResource } from '../../proto/resources.ts'
import { accepted, isId, refused } from './answer.ts'
import type { ClusterLimits, ClusterState } from './cluster.ts'

/** An agent that was gone stays gone: its host comes back under a new id. */
export function registerAgent(state: ClusterState, agent: RegisterAgent, index: number, limits: ClusterLimits): Answer {
  if (!isId(agent.agentId)) return refused('invalid', 'an agent id is 1 to 255 bytes without a slash')
  const wrong = wrongResource(agent.resources)
  if (wrong !== undefined) return refused('invalid', wrong)
  const known = state.agents.get(agent.agentId)
  if (known?.condition === 'agent_gone') {
    return refused('conflict', `agent ${agent.agentId} was marked gone: let the node register under a new agent id`)
  }
  if (known === undefined && state.agents.size >= limits.agents) {
    return refused('exhausted', `the cluster holds ${limits.agents} agents already`)
  }
  const registeredAtMs = known?.registeredAtMs ?? state.atMs
  state.agents.set(agent.agentId, { agent, condition: 'active', registeredAtMs })
  return accepted(index)
}

export function setAgentCondition(state: ClusterState, command: SetAgentCondition, index: number): Answer {
  const row = state.agents.get(command.agentId)
  if (row === undefined) return refused('not-found', `no agent ${command.agentId} is registered`)
  switch (command.condition) {
    case 'active':
    case 'agent_unreachable':
      if (row.condition === 'agent_gone') return refused('conflict', `agent ${command.agentId} is gone for good`)
      break
    case 'agent_gone':
      break
    default:
      return refused('invalid', 'the condition of an agent is active, agent_unreachable or agent_gone')
  }
  state.agents.set(command.agentId, { ...row, condition: command.condition })
  return accepted(index)
}

function wrongResource(resources: readonly Resource[]): string | undefined {
  try {
    for (const resource of resources) checkResource(resource)
    return undefined
  } catch (e) {
    if (isFault(e)) return e.message
    throw e
  }
}
