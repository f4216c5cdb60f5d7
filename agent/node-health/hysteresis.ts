import { type Check, checkKey } from './verdict.ts'

/** So many looks in a row must agree before the verdict that counts follows them into FAILURE, and out of it. */
export interface Patience {
  readonly into: number
  readonly outOf: number
}

/** What cannot be a passing peak counts at once; what can, at the second look. */
const atOnce: ReadonlySet<string> = new Set(['kernel', 'cgroups', 'disk', 'inodes', 'ledger', 'runtimes', 'images'])

export const patienceOf = (kind: string): Patience => ({ into: atOnce.has(kind) ? 1 : 2, outOf: 2 })

interface Memory {
  readonly shown: Check
  /** Looks in a row that said otherwise about FAILURE. */
  readonly doubts: number
}

export type HealthMemory = ReadonlyMap<string, Memory>

/**
 * One look on what was known before. A verdict that a FAILURE has not yet been confirmed for is shown as WARNING; one that has
 * just ceased stays until it is confirmed that it has. Rows that are not looked at any more are gone. Pure.
 */
export function settle(before: HealthMemory, seen: readonly Check[]): HealthMemory {
  const after = new Map<string, Memory>()
  for (const check of seen) {
    const key = checkKey(check)
    after.set(key, settleOne(before.get(key), check))
  }
  return after
}

function settleOne(known: Memory | undefined, check: Check): Memory {
  const { into, outOf } = patienceOf(check.kind)
  const failed = known?.shown.verdict === 'FAILURE'
  const fails = check.verdict === 'FAILURE'
  if (failed === fails) return { shown: check, doubts: 0 }
  const doubts = (known?.doubts ?? 0) + 1
  if (doubts >= (fails ? into : outOf)) return { shown: check, doubts: 0 }
  if (fails) return { shown: { ...check, verdict: 'WARNING' }, doubts }
  const shown = known?.shown ?? check
  return { shown: { ...shown, reason: `${check.reason} (was: ${firstReason(shown.reason)})` }, doubts }
}

/** A reason that tells of an earlier one keeps the earlier one alone. */
const firstReason = (reason: string): string => / \(was: (.*)\)$/.exec(reason)?.[1] ?? reason

export const shownIn = (memory: HealthMemory): readonly Check[] => [...memory.values()].map((row) => row.shown)

/** Whether the last look left a FAILURE unconfirmed, or its end. */
export const hasDoubts = (memory: HealthMemory): boolean => [...memory.values()].some((row) => row.doubts > 0)
