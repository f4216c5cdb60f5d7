import { endingOf, isUnplaced, type TaskRecord } from './task-view.ts'

export type Step =
  /** Nothing to do until something changes. */
  | { readonly kind: 'none' }
  /** Wants an offer. */
  | { readonly kind: 'launch' }
  /** Somebody asked for its end: tell the node, as often as it takes. */
  | { readonly kind: 'kill' }
  /** Its end was asked for before any node had it. */
  | { readonly kind: 'end-unlaunched' }
  /** Ended, and to be removed by itself. */
  | { readonly kind: 'remove-later' }

/** What is to be done about one wish. Pure. */
export function decide(record: TaskRecord): Step {
  if (endingOf(record) !== null) return record.wish.removeWhenDone ? { kind: 'remove-later' } : { kind: 'none' }
  const placed = !isUnplaced(record)
  if (record.wish.kill !== null) {
    if (placed) return { kind: 'kill' }
    return record.launching ? { kind: 'none' } : { kind: 'end-unlaunched' }
  }
  return placed || record.launching ? { kind: 'none' } : { kind: 'launch' }
}

/** The oldest ended ones beyond what is kept. Pure. */
export function surplus(records: Iterable<TaskRecord>, keep: number): readonly string[] {
  const ended = [...records].flatMap((r) => {
    const ending = endingOf(r)
    return ending === null ? [] : [{ taskId: r.taskId, atMs: ending.atMs }]
  })
  if (ended.length <= keep) return []
  ended.sort((a, b) => a.atMs - b.atMs || (a.taskId < b.taskId ? -1 : 1))
  return ended.slice(0, ended.length - keep).map((e) => e.taskId)
}
