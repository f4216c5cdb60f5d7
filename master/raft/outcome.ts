/** dropped: nothing came of it, the caller may try again; the other two tell that the sender is confused. */
export type StepOutcome = 'ok' | 'dropped' | 'local-message' | 'unknown-peer'
