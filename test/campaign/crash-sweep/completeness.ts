import type { FailPoint } from '../../fail-points/points.ts'
import { covers, exclusions } from './exclusions.ts'
import type { Recording } from './grid.ts'
import { steps } from './steps.ts'

/**
 * One sentence for each hole in the proof: a point of the sources that no life cycle hits and nobody has excused, an excuse that
 * is not needed any more, a step of a life cycle without a point. Pure.
 */
export function completenessProblems(points: readonly FailPoint[], recordings: readonly Recording[]): readonly string[] {
  const known = new Set(points.map((p) => p.name))
  const hit = new Set(recordings.flatMap((r) => r.hits))
  const problems: string[] = []
  const excuses = exclusions.flatMap(({ at, sometimes = false }) => at.map((name) => ({ name, sometimes })))
  const excused = (point: string): boolean => excuses.some(({ name }) => covers(name, point))
  for (const name of known) {
    if (!hit.has(name) && !excused(name)) problems.push(`no life cycle hits ${name}, and exclusions.ts does not say why`)
  }
  for (const { name, sometimes } of excuses) {
    const covered = [...known].filter((point) => covers(name, point))
    if (covered.length === 0) problems.push(`exclusions.ts excuses ${name}, which is not in the sources`)
    else if (!sometimes && covered.every((point) => hit.has(point))) problems.push(`exclusions.ts excuses ${name}, which is hit`)
  }
  for (const name of hit) if (!known.has(name)) problems.push(`${name} was hit, and is not in the list of the sources`)
  for (const { step, scenario, point } of steps) {
    const recorded = recordings.filter((r) => r.scenario === scenario)
    if (!recorded.some((r) => r.hits.some((name) => point.test(name))))
      problems.push(`the step “${step}” of ${scenario} has no point`)
  }
  for (const { scenario, variant, violations } of recordings) {
    for (const sentence of violations) problems.push(`${scenario}/${variant} is not clean without a fault: ${sentence}`)
  }
  return problems
}
