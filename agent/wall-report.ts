import type { Capability } from '../proto/gen/messages.ts'
import { type Check, type CheckPlan, rowsOf } from './node-health/verdict.ts'
import type { WallReport, Walls } from './walls.ts'

/** What others see of the walls: the node's capabilities, its health, `hearth node isolators`. */

export interface NodeIsolators {
  /** In the order in which they are put up. */
  readonly isolators: readonly WallReport[]
  /** What else the node can do, or cannot and why. */
  readonly host: readonly Capability[]
}

/** The node's capabilities with those of its isolators; what the host itself says of one counts. */
export function withWalls(host: readonly Capability[], { capabilities }: Pick<Walls, 'capabilities'>): readonly Capability[] {
  const known = new Set(host.map(({ name }) => name))
  const own = new Map(capabilities.filter(({ name }) => !known.has(name)).map((c) => [c.name, { ...c }]))
  return [...host, ...own.values()]
}

/** Why a capability is not there; undefined where it is. */
export function missingOf(capabilities: readonly Capability[]): (name: string) => string | undefined {
  const known = new Map(capabilities.map((c) => [c.name, c]))
  return (name) => {
    const found = known.get(name)
    return found?.present === true ? undefined : (found?.detail ?? 'this version of the agent does not know it')
  }
}

export async function nodeIsolators(
  walls: Pick<Walls, 'report'>,
  { capabilities }: { readonly capabilities: readonly Capability[] }
): Promise<NodeIsolators> {
  const isolators = walls.report()
  const told = new Set(isolators.flatMap((i) => i.capabilities.map(({ name }) => name)))
  return { isolators, host: capabilities.filter(({ name }) => !told.has(name)) }
}

/** One that is not ready lets no container start; one whose clean-up fails leaves something behind. */
export const isolatorsPlan = (walls: Pick<Walls, 'report'>): CheckPlan => ({
  kind: 'isolators',
  run: async () => judgeIsolators(walls.report())
})

export function judgeIsolators(walls: readonly WallReport[]): readonly Check[] {
  const rows = walls.flatMap((wall): readonly Check[] => {
    const { failure, warning } = rowsOf('isolators', wall.name)
    const { capabilities: why = '', cleanup: left } = wall.troubles
    if (wall.state === 'not-loaded' || why !== '')
      return [
        failure(`no container can start: ${why}`, 'put the module right, or take it out of --isolators, and restart the agent')
      ]
    return left === undefined ? [] : [warning(`a clean-up failed: ${left}`, 'it is tried again; see hearth node isolators')]
  })
  return rows.length > 0 ? rows : [rowsOf('isolators').ok(`${walls.length} isolators are ready`)]
}
