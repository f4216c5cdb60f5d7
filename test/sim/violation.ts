/** A promise of the system is broken: the run ends, and its seed is the way to see it again. */
export class Violation extends Error {
  override readonly name = 'Violation'
}

export function promise(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Violation(what)
}
