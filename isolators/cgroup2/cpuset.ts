/** Which container may use which processors. Pure: the whole desired set out of what is known, never a change to what there was. */

export interface CpusetClaim {
  readonly containerId: string
  /** 0: it shares what nobody has for itself. */
  readonly exclusiveCores: number
  /** Those it has for itself already; another count than it asks for is no claim to any. */
  readonly has: readonly number[]
}

/** Undefined where there are not enough processors: one at least is left for what shares. */
export function planCpusets(
  cores: readonly number[],
  claims: readonly CpusetClaim[]
): ReadonlyMap<string, readonly number[]> | undefined {
  const free = new Set(cores)
  const own = new Map<string, readonly number[]>()
  const asking = claims.filter(({ exclusiveCores }) => exclusiveCores > 0)
  for (const { containerId, exclusiveCores, has } of asking) {
    if (has.length !== exclusiveCores || !has.every((core) => free.has(core))) continue
    own.set(containerId, has)
    for (const core of has) free.delete(core)
  }
  for (const { containerId, exclusiveCores } of asking.filter(({ containerId }) => !own.has(containerId))) {
    // From the upper end: interrupts and the rest of the host are mostly at home at the lower one.
    const taken = [...free].sort((a, b) => b - a).slice(0, exclusiveCores)
    if (taken.length < exclusiveCores) return undefined
    own.set(
      containerId,
      taken.sort((a, b) => a - b)
    )
    for (const core of taken) free.delete(core)
  }
  if (free.size === 0) return undefined
  const shared = [...free].sort((a, b) => a - b)
  return new Map(claims.map(({ containerId }) => [containerId, own.get(containerId) ?? shared]))
}

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
