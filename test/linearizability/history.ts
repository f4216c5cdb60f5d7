/** One call of a client on one key. Times are positions in the order of all events: what happened first has the lower number. */
export interface Operation<Action> {
  readonly key: string
  readonly action: Action
  readonly call: number
  /** Infinity where nobody ever learnt the outcome: it may have taken effect at any time since the call, or never. */
  readonly return: number
}

/** What one key is supposed to do, one operation after the other. Pure; states are compared with ===. */
export interface Model<Action, State> {
  readonly initial: State
  /** The state afterwards, or undefined where this outcome is not possible in `state`. */
  step(state: State, action: Action): State | undefined
}

/** Of a register: a read with what it saw, a write, a compare-and-set with whether it took effect (undefined: nobody knows). */
export type RegisterAction =
  | { readonly kind: 'read'; readonly saw: number }
  | { readonly kind: 'write'; readonly value: number }
  | { readonly kind: 'swap'; readonly expected: number; readonly value: number; readonly swapped: boolean | undefined }

/** Holds 0 until it is written. */
export const register: Model<RegisterAction, number> = {
  initial: 0,
  step(state, action) {
    if (action.kind === 'write') return action.value
    if (action.kind === 'read') return action.saw === state ? state : undefined
    const swaps = state === action.expected
    if (action.swapped !== undefined && action.swapped !== swaps) return undefined
    return swaps ? action.value : state
  }
}
