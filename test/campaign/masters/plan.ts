import { type Random, seededRandom } from '../../../base/random.ts'

export type FaultKind =
  | 'kill'
  | 'kill-all'
  | 'freeze'
  | 'isolate'
  | 'one-way'
  | 'one-link'
  | 'bridge'
  | 'halves'
  | 'bad-links'
  | 'slow-sync'
  | 'failing-sync'
  | 'full-disk'
  | 'clock-step'
  | 'transfer'
  | 'snapshot'
  | 'grow'
  | 'replace'
  | 'remove'
  | 'upgrade'
  | 'downgrade'

export interface PlannedFault {
  readonly kind: FaultKind
  /** From the beginning of the storm. */
  readonly atMs: number
  readonly lastsMs: number
  /** Draws the victim, and how bad it is. */
  readonly draw: number
  readonly onLeader: boolean
}

export interface Plan {
  readonly masters: 3 | 5
  readonly faults: readonly PlannedFault[]
  /** This master's state lies on a small file system of its own; 0: nobody's. */
  readonly smallDisk: number
  readonly withClock: boolean
  /** It begins with the build of a lower feature level, and ends with the newer one everywhere. */
  readonly isRolling: boolean
}

export const stormMs = 12_000
/** No fault begins later than this. */
const lastAtMs = stormMs - 1_500
const weights: readonly (readonly [FaultKind, number])[] = [
  ['kill', 6],
  ['kill-all', 1],
  ['freeze', 5],
  ['isolate', 4],
  ['one-way', 3],
  ['one-link', 2],
  ['bridge', 3],
  ['halves', 3],
  ['bad-links', 5],
  ['slow-sync', 3],
  ['failing-sync', 2],
  ['full-disk', 2],
  ['clock-step', 2],
  ['transfer', 3],
  ['snapshot', 3],
  ['grow', 2],
  ['replace', 2],
  ['remove', 2]
]

/** All that a run does, out of its seed. Pure. */
export function planOf(seed: number): Plan {
  const random = seededRandom(seed)
  const masters = random.between(0, 3) === 0 ? 5 : 3
  const isRolling = random.between(0, 3) === 0
  const drawn = Array.from({ length: random.between(3, 7) }, () => planFault(random, weighted(random)))
  const rolled = Array.from({ length: isRolling ? random.between(3, 6) : 0 }, () =>
    planFault(random, random.between(0, 2) > 0 ? 'upgrade' : 'downgrade')
  )
  const faults = [...drawn, ...rolled].sort((a, b) => a.atMs - b.atMs)
  const has = (kind: FaultKind): boolean => faults.some((fault) => fault.kind === kind)
  return {
    masters,
    faults,
    smallDisk: has('full-disk') ? random.between(1, masters) : 0,
    withClock: has('clock-step'),
    isRolling
  }
}

function planFault(random: Random, kind: FaultKind): PlannedFault {
  return {
    kind,
    atMs: random.between(0, lastAtMs),
    lastsMs: kind === 'freeze' ? frozenMs(random) : random.between(100, 3_000),
    draw: random.between(0, 1_000_000),
    onLeader: random.between(0, 2) > 0
  }
}

/** 0.1 to 10 s, short ones as often as long ones. */
const frozenMs = (random: Random): number => Math.round(100 * 10 ** (random.between(0, 2_000) / 1_000))

function weighted(random: Random): FaultKind {
  let at = random.between(
    1,
    weights.reduce((sum, [, weight]) => sum + weight, 0)
  )
  for (const [kind, weight] of weights) {
    at -= weight
    if (at <= 0) return kind
  }
  return 'kill'
}
