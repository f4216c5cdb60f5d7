import { Fault } from '../base/fault.ts'
import type { Isolator, IsolatorPlace } from './isolator.ts'

type Placed = Pick<Isolator, 'name' | 'place'>

const nameRule = /^[a-z][a-z0-9-]{0,62}$/

/**
 * The isolators in the order in which they are put up: as given, but for what they say of each other. Pure. Throws
 * `Fault('invalid')` with every mistake at once: a name that is none or not the only one, a need that nothing meets, a conflict, a
 * circle.
 */
export function arrange<I extends Placed>(given: readonly I[]): readonly I[] {
  const names = given.map(({ name }) => name)
  const wrong = [...misnamed(names), ...given.flatMap((isolator) => [...unmet(isolator, names)])]
  if (wrong.length > 0) throw new Fault('invalid', wrong.join('; '))
  const placed: I[] = []
  const left = [...given]
  while (left.length > 0) {
    const at = left.findIndex((isolator) => !left.some((other) => other !== isolator && comesAfter(isolator, other)))
    if (at < 0) {
      const circle = left.map(({ name }) => name).join(', ')
      throw new Fault(
        'invalid',
        `the isolators ${circle} each want to come after another of them: take one out, or change its place`
      )
    }
    placed.push(...left.splice(at, 1))
  }
  return placed
}

function* misnamed(names: readonly string[]): Generator<string> {
  for (const name of names.filter((n) => !nameRule.test(n))) {
    yield `an isolator's name is a lower-case letter and then letters, digits and dashes, not ${JSON.stringify(name)}`
  }
  const twice = new Set(names.filter((name, i) => names.indexOf(name) !== i))
  for (const name of twice) yield `two isolators are called ${name}: leave one of them out`
}

function* unmet({ name, place = {} }: Placed, names: readonly string[]): Generator<string> {
  for (const needed of place.needs ?? []) {
    if (!names.includes(needed)) yield `isolator ${name} needs ${needed}, which is not there: add it, or leave ${name} out`
  }
  for (const enemy of place.conflicts ?? []) {
    if (names.includes(enemy)) yield `isolator ${name} cannot stand beside ${enemy}: leave one of them out`
  }
}

const names = (place: IsolatorPlace | undefined, ...which: readonly ('after' | 'before' | 'needs')[]): readonly string[] =>
  which.flatMap((key) => place?.[key] ?? [])

const comesAfter = (isolator: Placed, other: Placed): boolean =>
  names(isolator.place, 'after', 'needs').includes(other.name) || names(other.place, 'before').includes(isolator.name)
