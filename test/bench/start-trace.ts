import { readFileSync } from 'node:fs'
import type { Mark, StartNotes } from './start-hook.ts'
import { median } from './statistics.ts'

interface Step {
  readonly name: string
  readonly cpuMs: number
  readonly wallMs: number
}

interface Traced extends StartNotes {
  /** Of the agent's own line: whole milliseconds after the process began. */
  readonly stages: Readonly<Record<string, number>>
}

const stageNames = {
  loaded: 'our own modules, and the programs asked for their versions',
  read: 'ledger opened, host and versions read',
  composed: 'parts built',
  attached: 'runtime started, what runs taken over'
} as const

/** Where the milliseconds of an agent's start go, step by step: the medians of all traced starts. */
export function renderStart(path: string): string {
  const lines = readFileSync(path, 'utf8').split('\n').filter(Boolean)
  const starts: Traced[] = []
  for (let i = 0; i + 1 < lines.length; i += 2) {
    starts.push({ ...(JSON.parse(lines[i] ?? '') as StartNotes), ...(JSON.parse(lines[i + 1] ?? '') as Pick<Traced, 'stages'>) })
  }
  const rows = starts.map(stepsOf)
  const of = (index: number, key: 'cpuMs' | 'wallMs'): string =>
    median(rows.map((steps) => steps[index]?.[key] ?? Number.NaN)).toFixed(1)
  const steps = (rows[0] ?? []).map(({ name }, i) => `${of(i, 'cpuMs').padStart(9)} ${of(i, 'wallMs').padStart(9)}  ${name}`)
  return [
    `the median of ${starts.length} traced starts; CPU is that of the main thread, the tracing costs some of it`,
    '   CPU ms   wall ms  step',
    ...steps,
    `of these, CPU ms: ${costs(starts)}`
  ].join('\n')
}

function stepsOf({ marks, looks, stages }: Traced): readonly Step[] {
  const { hooked, read, made, started } = marks
  const stageAt = (name: string): Mark | undefined => looks.find(({ atMs }) => Math.round(atMs) === stages[name])
  const moments: readonly (readonly [string, Mark | undefined])[] = [
    ['Node itself, as in `node -e 0`', hooked],
    ['program and machine code read', read],
    ['machine code made functions', made],
    ...Object.entries(stageNames).map(([stage, name]) => [name, stageAt(stage)] as const),
    ['services started', started]
  ]
  let before: Mark = { cpuMs: 0, atMs: 0 }
  return moments.map(([name, at = before]) => {
    const step = { name, cpuMs: at.cpuMs - before.cpuMs, wallMs: at.atMs - before.atMs }
    before = at
    return step
  })
}

/** What stands within the steps: modules of Node that cost at least half a millisecond, and the starts of other programs. */
function costs(starts: readonly Traced[]): string {
  const names = new Set(starts.flatMap(({ builtins }) => Object.keys(builtins)))
  const modules = [...names]
    .map((name) => ({ name, ms: median(starts.map(({ builtins }) => builtins[name] ?? 0)) }))
    .sort((a, b) => b.ms - a.ms)
  const all = modules.reduce((sum, { ms }) => sum + ms, 0)
  const large = modules.filter(({ ms }) => ms >= 0.5).map(({ name, ms }) => `${name} ${ms.toFixed(1)}`)
  const spawns = median(starts.map(({ spawnMs }) => spawnMs)).toFixed(1)
  return `Node’s modules ${all.toFixed(1)} (${large.join(', ')}), starting other programs ${spawns}`
}
