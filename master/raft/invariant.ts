/** A broken invariant is a bug, here or in the host's storage, never bad input: the process dies before it can vote on it. */
export function assert(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(`raft invariant broken: ${what}`)
}
