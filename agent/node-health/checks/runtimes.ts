import { type Check, rowsOf } from '../verdict.ts'
import { compareVersions, isAffected, type KnownBad, knownBad } from './known-bad.ts'
import { tame } from './words.ts'

export interface RuntimeFacts {
  readonly program: KnownBad['program']
  /** What `--version` printed, or why it could not be run. */
  readonly said: { readonly text: string } | { readonly failure: string }
}

/** `runc version 1.1.5+ds1` and like. */
const versionOf = (text: string): string | undefined => /\bversion:? v?(\d+(?:\.\d+)*)/.exec(text)?.[1]

/** conmon and one of the two runtimes must be there. */
export function judgeRuntimes(facts: readonly RuntimeFacts[]): readonly Check[] {
  const works = (program: string): boolean => facts.some((f) => f.program === program && 'text' in f.said)
  return facts.map((fact) => judgeOne(fact, fact.program === 'conmon' || !(works('runc') || works('crun'))))
}

function judgeOne({ program, said }: RuntimeFacts, needed: boolean): Check {
  const row = rowsOf('runtimes', program)
  if ('failure' in said) {
    const reason = tame(said.failure, 200)
    const remedy = `apt-get install ${program}`
    // A runtime that is not there is a choice while the other one is.
    return needed ? row.failure(reason, remedy) : row.ok(`not used: ${reason}`)
  }
  const version = versionOf(said.text)
  if (version === undefined) {
    return row.unknown(`does not tell its version: ${tame(said.text, 80)}`, `see what ${program} --version prints`)
  }
  const found = knownBad.filter((bad) => applies(bad, program, version, said.text))
  const reason = [`version ${version}`, ...found.map((bad) => bad.what)].join('; ')
  const serious = found.filter((bad) => bad.weight === 'warning')
  if (serious.length === 0) return row.ok(reason)
  const least = serious
    .flatMap(({ versions }) => ('before' in versions ? [versions.before] : []))
    .sort(compareVersions)
    .at(-1)
  return row.warning(
    reason,
    `upgrade ${program}${least === undefined ? '' : ` to ${least} or newer`}; running tasks are not touched`
  )
}

const applies = (bad: KnownBad, program: string, version: string, text: string): boolean =>
  bad.program === program && isAffected(bad, version) && bad.patched?.test(text) !== true
