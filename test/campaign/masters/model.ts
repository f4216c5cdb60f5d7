import type { Model } from '../../linearizability/history.ts'

/** One call on a task's name, with what is known of its outcome. Values are unique labels; 0: there is no such task. */
export type NameAction =
  | { readonly kind: 'create'; readonly value: number; readonly outcome: 'created' | 'taken' | 'unknown' }
  | { readonly kind: 'remove'; readonly outcome: 'gone' | 'missing' | 'unknown' }
  | { readonly kind: 'read'; readonly saw: number }

/** A name holds at most one task. A removal that joined another one in progress is answered like it, so it may find nothing. */
export const nameModel: Model<NameAction, number> = {
  initial: 0,
  step(state, action) {
    if (action.kind === 'read') return action.saw === state ? state : undefined
    if (action.kind === 'remove') return action.outcome === 'missing' && state !== 0 ? undefined : 0
    if (action.outcome === 'created') return state === 0 ? action.value : undefined
    if (action.outcome === 'taken') return state === 0 ? undefined : state
    return state === 0 ? action.value : state
  }
}
