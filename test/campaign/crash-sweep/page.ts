import { writeFileSync } from 'node:fs'
import type { FailPoint } from '../../fail-points/points.ts'
import type { FinishedRun } from '../resume.ts'
import { exclusions } from './exclusions.ts'
import { allFaults, type Cell, faultsOf, nameOf, type Recording } from './grid.ts'

export interface PageFacts {
  readonly commit: string
  readonly date: string
  readonly command: string
}

/** Writes the grid as a page: a row for each point, a column for each life cycle, in each cell how many faults held of how many. */
export function writePage(
  path: string,
  facts: PageFacts,
  points: readonly FailPoint[],
  recordings: readonly Recording[],
  cells: readonly Cell[],
  finished: readonly FinishedRun[]
): void {
  writeFileSync(path, renderPage(facts, points, recordings, cells, finished))
}

interface Tally {
  cells: number
  done: number
  broken: number
}

export function renderPage(
  facts: PageFacts,
  points: readonly FailPoint[],
  recordings: readonly Recording[],
  cells: readonly Cell[],
  finished: readonly FinishedRun[]
): string {
  const done = new Map(finished.map((run) => [run.name, run]))
  const scenarios = [...new Set(recordings.map((r) => r.scenario))]
  const tallies = new Map<string, Tally>()
  const count = (key: string, cell: Cell): void => {
    const tally = tallies.get(key) ?? { cells: 0, done: 0, broken: 0 }
    const run = done.get(nameOf(cell))
    tally.cells += 1
    if (run !== undefined) tally.done += 1
    if (run !== undefined && run.violations.length > 0) tally.broken += 1
    tallies.set(key, tally)
  }
  for (const cell of cells) {
    if (cell.strike === undefined) continue
    count(`${cell.strike.point} ${cell.scenario}`, cell)
    count(`fault ${cell.strike.fault} ${cell.scenario}`, cell)
    count('all', cell)
  }
  const text = (key: string): string => {
    const tally = tallies.get(key)
    if (tally === undefined) return ''
    const { cells: all, done: ran, broken } = tally
    return `${ran - broken}${ran < all ? `/${all}` : ''}${broken > 0 ? ` **${broken} broken**` : ''}`
  }
  const hit = new Set(recordings.flatMap((r) => r.hits))
  const total = tallies.get('all') ?? { cells: 0, done: 0, broken: 0 }
  const table = (first: string, rows: readonly (readonly [name: string, key: string])[]): string[] => [
    `| ${first} | ${scenarios.join(' | ')} |`,
    `|---|${scenarios.map(() => '---:|').join('')}`,
    ...rows.map(([name, key]) => `| ${name} | ${scenarios.map((s) => text(`${key} ${s}`)).join(' | ')} |`)
  ]
  return [
    '# The crash sweep',
    '',
    `Written by \`${facts.command}\` at commit ${facts.commit}, ${facts.date}. Do not edit.`,
    '',
    `Every call that leaves the agent is a *fail point*: ${points.length} in the sources, found by the type checker (docs/decisions/0009).`,
    `${hit.size} of them are hit by the life cycles below, ${points.length - hit.size} are excused at the end of this page.`,
    `The grid has ${total.cells} cells: one hit of one point in one life cycle and variant, with one fault. ${total.done} were run,`,
    `${total.broken} broke an invariant${total.broken === 0 ? '' : ', listed below'}.`,
    '',
    'Each life cycle is acted plainly, with the agent killed and struck while it recovers, and with the master away. Faults:',
    '`kill` SIGKILL of the agent before the call; `kill-after` SIGKILL once the call has had its effect, where none follows before',
    'which it is killed anyway; `ENOSPC`, `EIO` the call fails; `delay` it takes 10 s longer. Closing a socket or sending a signal has no disk behind it: no `ENOSPC`, no `EIO`.',
    'After each run the agent is killed and started again, and the eight invariants are checked from the kernel’s side.',
    'A cell shows how many runs held; `3/5` that five belong to it and three were run.',
    '',
    '## Faults and life cycles',
    '',
    ...table(
      'fault',
      allFaults.map((fault) => [fault, `fault ${fault}`] as const)
    ),
    '',
    ...brokenLines(finished),
    '## Points and life cycles',
    '',
    ...table(
      'point (faults)',
      points.filter((p) => hit.has(p.name)).map((p) => [`\`${p.name}\` (${faultsOf(p).length})`, p.name] as const)
    ),
    '',
    '## Points that no life cycle hits',
    '',
    ...exclusions.flatMap(({ why, at }) => [`${why}:`, '', ...at.map((name) => `- \`${name}\``), ''])
  ].join('\n')
}

function brokenLines(finished: readonly FinishedRun[]): readonly string[] {
  const broken = finished.filter((run) => run.violations.length > 0)
  if (broken.length === 0) return []
  const lines = broken.map((run) => `- \`${run.name}\`: ${run.violations[0]?.split('\n')[0] ?? ''}`)
  return ['## Broken', '', ...lines, '']
}
