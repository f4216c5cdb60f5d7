import type { ReceivedStatus } from './expected.ts'

type WireState = ReceivedStatus['status']['state']

/** The states in the order in which a task may go through them on its node; any of the last row ends it. */
const rank: Readonly<Partial<Record<WireState, number>>> = { staging: 0, starting: 1, running: 2, killing: 3 }
const ends: ReadonlySet<WireState> = new Set(['finished', 'failed', 'killed', 'error', 'lost', 'dropped'])

export const isEnd = (state: WireState): boolean => ends.has(state)

/**
 * At least once on the wire, in order for each task: a number is new, or the same message again. Numbers are the agent's own, so
 * none may be missing between the first and the last, but where a ledger was lost. Pure.
 */
export function statusProblems(received: readonly ReceivedStatus[]): readonly string[] {
  const problems: string[] = []
  const digests = new Map<number, string>()
  const latest = new Map<string, ReceivedStatus['status']>()
  for (const { status, digest } of received) {
    const { number, containerId, taskId, state } = status
    const before = latest.get(containerId)
    const known = digests.get(number)
    if (known !== undefined) {
      if (known !== digest) problems.push(`number ${number} came twice with different words`)
      continue
    }
    digests.set(number, digest)
    if (before !== undefined && number < before.number) {
      problems.push(`${taskId}: number ${number} (${state}) came after ${before.number} (${before.state})`)
      continue
    }
    if (!mayFollow(before?.state, state)) problems.push(`${taskId} went from ${before?.state ?? 'nothing'} to ${state}`)
    latest.set(containerId, status)
  }
  return [...problems, ...missing([...digests.keys()])]
}

/** Smaller numbers are counted from 1. An agent whose ledger is lost goes on above all it may have told: at the clock's milliseconds. */
const leastAfterLoss = 1e12

function missing(numbers: readonly number[]): readonly string[] {
  const problems: string[] = []
  let before = 0
  for (const number of [...numbers].sort((a, b) => a - b)) {
    const isLeap = before < leastAfterLoss && number >= leastAfterLoss
    if (number > before + 1 && !isLeap) {
      const last = number - 1 > before + 1 ? ` to ${number - 1}` : ''
      problems.push(`number ${before + 1}${last} never came, though ${number} did`)
    }
    before = number
  }
  return problems
}

function mayFollow(before: WireState | undefined, after: WireState): boolean {
  if (before !== undefined && isEnd(before)) return false
  if (isEnd(after)) return true
  const [from, to] = [before === undefined ? 0 : rank[before], rank[after]]
  return from !== undefined && to !== undefined && to >= from
}
