/** Which container may use which processors. Pure: the whole desired set out of what is known, never a change to what there was. */

export interface CpusetClaim {
  readonly containerId: string
  /** 0: it shares what nobody has for itself. */
  readonly exclusiveCores: number
  /** Those of its NUMA nodes, where it asks for some; nodes that have gone since bind nobody. */
  readonly within?: readonly number[]
  /** Memory nodes, cpuset(7), "List format"; empty: all. */
  readonly memoryNodes: string
  /** Those it has for itself already; another count than it asks for is no claim to any. */
  readonly has: readonly number[]
}

/** Undefined where there are not enough processors: one at least is left for each that shares. */
export function planCpusets(
  cores: readonly number[],
  claims: readonly CpusetClaim[]
): ReadonlyMap<string, readonly number[]> | undefined {
  const free = new Set(cores)
  const own = new Map<string, readonly number[]>()
  const asking = claims.filter(({ exclusiveCores }) => exclusiveCores > 0)
  for (const { containerId, exclusiveCores, within, has } of asking) {
    if (has.length !== exclusiveCores || !has.every((core) => free.has(core) && isAmid(core, within))) continue
    own.set(containerId, has)
    for (const core of has) free.delete(core)
  }
  for (const { containerId, exclusiveCores, within } of asking.filter(({ containerId }) => !own.has(containerId))) {
    // From the upper end: interrupts and the rest of the host are mostly at home at the lower one.
    const taken = amid([...free], within)
      .sort((a, b) => b - a)
      .slice(0, exclusiveCores)
    if (taken.length < exclusiveCores) return undefined
    own.set(
      containerId,
      taken.sort((a, b) => a - b)
    )
    for (const core of taken) free.delete(core)
  }
  if (free.size === 0) return undefined
  const shared = [...free].sort((a, b) => a - b)
  const given = claims.map((claim) => [claim.containerId, own.get(claim.containerId) ?? amid(shared, claim.within)] as const)
  return given.every(([, list]) => list.length > 0) ? new Map(given) : undefined
}

const amid = (cores: readonly number[], within: readonly number[] | undefined): number[] =>
  cores.filter((core) => isAmid(core, within))

const isAmid = (core: number, within: readonly number[] = []): boolean => within.length === 0 || within.includes(core)

/** `0-3,8` (cpuset(7), "List format"). */
export function parseCores(text: string): readonly number[] {
  return text
    .trim()
    .split(',')
    .filter(Boolean)
    .flatMap((span) => {
      const [first = 0, last = first] = span.split('-').map(Number)
      return Array.from({ length: last - first + 1 }, (_, i) => first + i)
    })
}

export const formatCores = (cores: readonly number[]): string => cores.join(',')
