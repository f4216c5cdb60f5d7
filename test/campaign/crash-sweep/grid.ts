import type { FailPoint } from '../../fail-points/points.ts'
import type { FailFault } from '../../fail-points/shim.ts'
import type { Variant } from './scenario.ts'
import type { Strike } from './stage.ts'

/** What one undisturbed life cycle hit, in order. */
export interface Recording {
  readonly scenario: string
  readonly variant: Variant
  readonly hits: readonly string[]
  readonly violations: readonly string[]
}

/** One run of the grid; without a strike the undisturbed one. */
export interface Cell {
  readonly scenario: string
  readonly variant: Variant
  readonly strike: Strike | undefined
}

export const allFaults: readonly FailFault[] = ['kill', 'kill-after', 'ENOSPC', 'EIO', 'delay']

/** Closing a socket, sending a signal: no disk is behind it that could answer with an error. */
export const faultsOf = ({ shape }: FailPoint): readonly FailFault[] =>
  shape === 'release' ? allFaults.filter((f) => f !== 'ENOSPC' && f !== 'EIO') : allFaults

/** Doors that everything of a kind goes through: each hit is another step of the life cycle. */
const doors = /^(agent\/ledger\/files\.ts:diskFiles\.open\.(write|datasync):|agent\/link\.ts:.*:write$)/
const hitsMost = 12

/** Where a start of the agent is struck from its first call on: with nothing, and with each kind of container before it. */
const startsStruck = /^(start|launch|half-launch|exit-zero|attempts)$/

/**
 * Every run of the grid. A start does the same first steps whatever life cycle it interrupts: they are struck in those of
 * `startsStruck`, and elsewhere only what the start of an empty agent does not do. Death after a call that is followed by one
 * before which the agent is killed anyway would find the same things done: it is struck where no such call follows. `long`: all
 * these too, and later hits of every point, not of the doors alone. Pure.
 */
export function cellsOf(recordings: readonly Recording[], points: readonly FailPoint[], long: boolean): readonly Cell[] {
  const byName = new Map(points.map((p) => [p.name, p]))
  const startsAlone = new Set(recordings.find((r) => r.scenario === 'start')?.hits)
  return recordings.flatMap(({ scenario, variant, hits }) => {
    const isRepeat = (name: string): boolean =>
      !long && variant === 'restart' && !startsStruck.test(scenario) && startsAlone.has(name)
    const most = (name: string): number => {
      if (!byName.has(name) || isRepeat(name)) return 0
      return long || doors.test(name) ? hitsMost : 1
    }
    const struck = numbered(hits).filter(({ name, hit }) => hit <= most(name))
    const cells = struck.flatMap(({ name, hit, next }): Cell[] => {
      const point = byName.get(name)
      const isMet = !long && next !== undefined && next.hit <= most(next.name)
      const faults = point === undefined ? [] : faultsOf(point).filter((fault) => fault !== 'kill-after' || !isMet)
      return faults.map((fault) => ({ scenario, variant, strike: { point: name, hit, fault } }))
    })
    return [{ scenario, variant, strike: undefined }, ...cells]
  })
}

interface Hit {
  readonly name: string
  /** From 1. */
  readonly hit: number
  next?: Hit
}

/** Each hit with its number among those of its point, and the one that comes after it. */
function numbered(names: readonly string[]): readonly Hit[] {
  const counts = new Map<string, number>()
  const hits = names.map((name): Hit => {
    const hit = (counts.get(name) ?? 0) + 1
    counts.set(name, hit)
    return { name, hit }
  })
  hits.forEach((hit, i) => {
    const next = hits[i + 1]
    if (next !== undefined) hit.next = next
  })
  return hits
}

export const nameOf = ({ scenario, variant, strike }: Cell): string =>
  strike === undefined
    ? `${scenario}/${variant} undisturbed`
    : `${scenario}/${variant} ${strike.fault} ${strike.hit} ${strike.point}`

export function cellNamed(name: string): Cell {
  const [where = '', fault = '', hit = '1', ...point] = name.split(' ')
  const [scenario = '', variant = 'plain'] = where.split('/')
  const strike = fault === 'undisturbed' ? undefined : { point: point.join(' '), hit: Number(hit), fault: fault as FailFault }
  return { scenario, variant: variant as Variant, strike }
}
