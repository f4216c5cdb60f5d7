import type { Model, Operation } from './history.ts'

/**
 * unknown: the budget was used up first. Never to be taken for a pass.
 */
export type Verdict = 'linearizable' | 'violated' | 'unknown'

export interface KeyVerdict {
  readonly key: string
  readonly verdict: Verdict
  readonly operations: number
}

/** The call or the return of one operation, in a list from which both are lifted while it counts as done. */
interface Event {
  readonly operation: number
  /** Of a call: its return. */
  readonly match: Event | undefined
  previous: Event | undefined
  next: Event | undefined
}

interface Lifted<State> {
  readonly call: Event
  readonly before: State
}

/**
 * Whether the operations of one key can be put in one order that respects who was finished before whom, and that the model allows
 * (Wing and Gong's search). What was tried is remembered as (set of operations done, state), so that no such pair is searched
 * twice (Lowe's addition). At most `budget` steps.
 */
export function checkKey<Action, State>(
  operations: readonly Operation<Action>[],
  model: Model<Action, State>,
  budget: number
): Verdict {
  const head = eventsOf(operations)
  const done = new DoneSet(operations)
  const tried = new Map<number, { readonly words: Uint32Array; readonly state: State }[]>()
  const path: Lifted<State>[] = []
  let state = model.initial
  let event = head.next
  for (let steps = 0; event !== undefined; steps++) {
    if (steps >= budget) return 'unknown'
    if (event.match === undefined) {
      // Somebody had finished here and cannot be put into the order any more: take the last decision back.
      const last = path.pop()
      if (last === undefined) return 'violated'
      state = last.before
      done.flip(last.call.operation)
      putBack(last.call)
      event = last.call.next
      continue
    }
    const operation = operations[event.operation]
    const next = operation === undefined ? undefined : model.step(state, operation.action)
    if (next !== undefined && isNew(tried, done, event.operation, next)) {
      path.push({ call: event, before: state })
      state = next
      done.flip(event.operation)
      lift(event)
      event = head.next
    } else event = event.next
    if (done.isComplete) return 'linearizable'
  }
  return 'linearizable'
}

/** Each key by itself: a history is linearizable exactly if the part of every key is (Herlihy and Wing's locality). */
export function checkHistory<Action, State>(
  operations: readonly Operation<Action>[],
  model: Model<Action, State>,
  budgetPerKey: number
): readonly KeyVerdict[] {
  const byKey = new Map<string, Operation<Action>[]>()
  for (const operation of operations) {
    const list = byKey.get(operation.key)
    if (list === undefined) byKey.set(operation.key, [operation])
    else list.push(operation)
  }
  return [...byKey].map(([key, list]) => ({ key, verdict: checkKey(list, model, budgetPerKey), operations: list.length }))
}

function eventsOf(operations: readonly Operation<unknown>[]): Event {
  const head: Event = { operation: -1, match: undefined, previous: undefined, next: undefined }
  const timed = operations.flatMap((each, operation) => {
    const end: Event = { operation, match: undefined, previous: undefined, next: undefined }
    const start: Event = { operation, match: end, previous: undefined, next: undefined }
    return [
      { at: each.call, order: 0, event: start },
      { at: each.return, order: 1, event: end }
    ]
  })
  // Calls before returns of the same moment: they overlap.
  timed.sort((a, b) => (a.at === b.at ? a.order - b.order : a.at - b.at))
  let last = head
  for (const { event } of timed) {
    last.next = event
    event.previous = last
    last = event
  }
  return head
}

function unlink(event: Event): void {
  if (event.previous !== undefined) event.previous.next = event.next
  if (event.next !== undefined) event.next.previous = event.previous
}

function relink(event: Event): void {
  if (event.previous !== undefined) event.previous.next = event
  if (event.next !== undefined) event.next.previous = event
}

function lift(call: Event): void {
  unlink(call)
  if (call.match !== undefined) unlink(call.match)
}

/** In the opposite order of `lift`, so that each finds its neighbours as they were. */
function putBack(call: Event): void {
  if (call.match !== undefined) relink(call.match)
  relink(call)
}

/** Which operations are done, with a hash that changes with each of them. */
class DoneSet {
  readonly words: Uint32Array
  hash = 0
  readonly #operations: readonly Operation<unknown>[]
  #ended = 0

  constructor(operations: readonly Operation<unknown>[]) {
    this.#operations = operations
    this.words = new Uint32Array(Math.ceil(operations.length / 32))
    for (const operation of operations) if (hasEnded(operation)) this.#ended++
  }

  /** Everything that somebody saw the end of is done; the others need never have happened. */
  get isComplete(): boolean {
    return this.#ended === 0
  }

  flip(operation: number): void {
    const word = operation >>> 5
    const bit = 1 << (operation & 31)
    const isDone = ((this.words[word] ?? 0) & bit) === 0
    this.words[word] = ((this.words[word] ?? 0) ^ bit) >>> 0
    this.hash = (this.hash ^ Math.imul(operation + 1, 0x9e3779b1)) >>> 0
    const one = this.#operations[operation]
    if (one !== undefined && hasEnded(one)) this.#ended += isDone ? -1 : 1
  }
}

const hasEnded = (operation: Operation<unknown>): boolean => operation.return !== Number.POSITIVE_INFINITY

function isNew<State>(
  tried: Map<number, { readonly words: Uint32Array; readonly state: State }[]>,
  done: DoneSet,
  operation: number,
  state: State
): boolean {
  done.flip(operation)
  const seen = tried.get(done.hash) ?? []
  const isKnown = seen.some((one) => one.state === state && one.words.every((word, at) => word === done.words[at]))
  if (!isKnown) {
    seen.push({ words: done.words.slice(), state })
    tried.set(done.hash, seen)
  }
  done.flip(operation)
  return !isKnown
}
