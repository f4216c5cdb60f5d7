import { isFault } from '../../base/fault.ts'
import type { Answer, RegisterAgent, Resource, SetAgentCondition } from '../../proto/gen/messages.ts'
import { checkResource } from '../../proto/resources.ts'
import { accepted, isId, refused } from './answer.ts'
import { type ClusterLimits, type ClusterState, levelOfReturn } from './cluster.ts'

/** An agent that the operator removed stays gone: its host comes back under a new id. One that was given up may come back. */
export function registerAgent(state: ClusterState, agent: RegisterAgent, index: number, limits: ClusterLimits): Answer {
  if (!isId(agent.agentId)) return refused('invalid', 'an agent id is 1 to 255 bytes without a slash')
  const wrong = wrongResource(agent.resources)
  if (wrong !== undefined) return refused('invalid', wrong)
  const known = state.agents.get(agent.agentId)
  if (known?.condition === 'agent_gone' && !known.mayReturn) {
    return refused('conflict', `agent ${agent.agentId} was marked gone: let the node register under a new agent id`)
  }
  if (known === undefined && state.agents.size >= limits.agents) {
    return refused('exhausted', `the cluster holds ${limits.agents} agents already`)
  }
  const registeredAtMs = known?.registeredAtMs ?? state.atMs
  state.agents.set(agent.agentId, { agent, condition: 'active', registeredAtMs, mayReturn: false })
  return accepted(index)
}

/** Of an agent that the operator removed, which has its identity taken from it too: for good. */
export function removeAgent(state: ClusterState, agentId: string, index: number): Answer {
  const row = state.agents.get(agentId)
  if (row === undefined) return refused('not-found', `no agent ${agentId} is registered`)
  state.agents.set(agentId, { ...row, condition: 'agent_gone', mayReturn: false })
  return accepted(index)
}

export function setAgentCondition(state: ClusterState, command: SetAgentCondition, index: number): Answer {
  const { agentId, condition } = command
  const row = state.agents.get(agentId)
  if (row === undefined) return refused('not-found', `no agent ${agentId} is registered`)
  switch (condition) {
    case 'active':
    case 'agent_unreachable':
      if (row.condition === 'agent_gone') return refused('conflict', `agent ${agentId} is gone for good`)
      state.agents.set(agentId, { ...row, condition })
      return accepted(index)
    case 'agent_gone': {
      const mayReturn = state.featureLevel >= levelOfReturn && (row.condition !== 'agent_gone' || row.mayReturn)
      state.agents.set(agentId, { ...row, condition, mayReturn })
      return accepted(index)
    }
    default:
      return refused('invalid', 'the condition of an agent is active, agent_unreachable or agent_gone')
  }
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
