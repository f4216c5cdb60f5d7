import { createHash } from 'node:crypto'
import { type Random, seededRandom } from '../../../base/random.ts'

export type TaskKind = 'quick' | 'failing' | 'working' | 'lasting' | 'polite' | 'writing' | 'greedy' | 'absent' | 'unwanted'

export interface PlannedTask {
  readonly taskId: string
  readonly containerId: string
  readonly kind: TaskKind
  readonly runtime: 'runc' | 'crun'
  readonly launchAtMs: number
  /** Of a program that ends by itself. */
  readonly exitCode: number
  /** How long a working program works. */
  readonly workMs: number
  /** How many lines a writing program writes. */
  readonly lines: number
  /** When its end is asked for, counted from its launch. */
  readonly killAfterMs?: number
  readonly graceMs: number
  /** When somebody runs a program in it, counted from its launch. */
  readonly execAfterMs?: number
}

/** What the fault waits for: a moment of the churn, a step of one task, or the agent's own restart. */
export type Anchor =
  | { readonly kind: 'time' }
  | { readonly kind: 'launch-sent' | 'accepted' | 'running' | 'ended' | 'kill-sent'; readonly task: number }
  | { readonly kind: 'restart' }

export interface PlannedFault {
  readonly anchor: Anchor
  readonly afterMs: number
  readonly signal: 'SIGKILL' | 'SIGTERM'
  /** How long no agent runs. */
  readonly downMs: number
}

export interface Plan {
  readonly tasks: readonly PlannedTask[]
  readonly faults: readonly PlannedFault[]
  /** Of 8 acknowledgements so many are lost once, while faults are still to come. */
  readonly lostAcknowledgements: number
}

const weights: readonly (readonly [TaskKind, number])[] = [
  ['quick', 4],
  ['failing', 3],
  ['working', 4],
  ['lasting', 4],
  ['polite', 3],
  ['writing', 3],
  ['greedy', 2],
  ['absent', 1],
  ['unwanted', 2]
]
const churnMs = 400

/** All that a run does, out of its seed. Pure. */
export function planOf(seed: number, hasCrun: boolean): Plan {
  const random = seededRandom(seed)
  const tasks = Array.from({ length: random.between(4, 8) }, (_, i) => planTask(random, seed, i, hasCrun))
  const faults = [firstFault(random, tasks)]
  while (faults.length < 4 && random.between(0, 9) < 3) {
    // A second one strikes the recovery from the first.
    faults.push({ anchor: { kind: 'restart' }, afterMs: steep(random, 400), ...how(random) })
  }
  return { tasks, faults, lostAcknowledgements: random.between(0, 3) }
}

function planTask(random: Random, seed: number, index: number, hasCrun: boolean): PlannedTask {
  const kind = weighted(random)
  const containerId = createHash('sha256').update(`agent-kill ${seed} ${index}`).digest('hex').slice(0, 32)
  const killed = kind === 'lasting' ? random.between(0, 2) === 0 : kind === 'polite' || kind === 'unwanted'
  const killAfterMs = kind === 'unwanted' ? steep(random, 120) : random.between(60, 300)
  const execAfterMs = kind === 'lasting' && random.between(0, 1) === 0 ? random.between(80, 250) : undefined
  return {
    taskId: `${kind}-${index}`,
    containerId,
    kind,
    runtime: hasCrun && random.between(0, 4) === 0 ? 'crun' : 'runc',
    launchAtMs: random.between(0, churnMs - 100),
    exitCode: kind === 'failing' || kind === 'working' ? random.between(1, 125) : 0,
    workMs: random.between(20, 400),
    lines: random.between(500, 20_000),
    graceMs: kind === 'polite' ? 2_000 : 0,
    ...(killed ? { killAfterMs } : {}),
    ...(execAfterMs === undefined ? {} : { execAfterMs })
  }
}

function firstFault(random: Random, tasks: readonly PlannedTask[]): PlannedFault {
  const task = random.between(0, tasks.length - 1)
  const kinds = ['launch-sent', 'accepted', 'running', 'ended', 'kill-sent'] as const
  const kind = kinds[random.between(0, kinds.length - 1)] ?? 'running'
  if (random.between(0, 2) === 0) return { anchor: { kind: 'time' }, afterMs: random.between(0, churnMs + 200), ...how(random) }
  return { anchor: { kind, task }, afterMs: steep(random, 150), ...how(random) }
}

const how = (random: Random): Pick<PlannedFault, 'signal' | 'downMs'> => ({
  signal: random.between(0, 9) === 0 ? 'SIGTERM' : 'SIGKILL',
  downMs: random.between(0, 2) === 0 ? random.between(50, 500) : 0
})

/** Mostly short: half of the draws lie below the square root of `most`. */
const steep = (random: Random, most: number): number => Math.round(most ** (random.between(0, 1_000) / 1_000)) - 1

function weighted(random: Random): TaskKind {
  const sum = weights.reduce((all, [, weight]) => all + weight, 0)
  let at = random.between(1, sum)
  for (const [kind, weight] of weights) {
    at -= weight
    if (at <= 0) return kind
  }
  return 'quick'
}
