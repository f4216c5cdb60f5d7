import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { seededRandom } from '../../../base/random.ts'
import { commitOf } from '../../bench/machine.ts'
import type { FailPoint } from '../../fail-points/points.ts'
import { type Campaign, type CampaignKind, type CampaignPlace, type CampaignWish, numberOption } from '../campaign.ts'
import type { FinishedRun, RunResult } from '../resume.ts'
import { dockerArchive } from './archives.ts'
import { completenessProblems } from './completeness.ts'
import { type Cell, cellNamed, cellsOf, nameOf, type Recording } from './grid.ts'
import { type PageFacts, writePage } from './page.ts'
import { buildPrograms } from './programs.ts'
import { carryOut, scenarioNamed } from './run.ts'
import { scenarios } from './scenarios.ts'
import { Slots } from './slots.ts'
import { warm } from './warm.ts'

/** Runs that use a core at the same time; those that sit out a delay wait beside them. */
const working = 4
const lanes = 16
const deadlineMs = { short: 80_000, long: 160_000 }
/** The run that holds the sources against what was hit. */
const completeness = 'completeness'

/** Every life cycle, once for each fail point that it hits and each fault. */
export const crashSweep: CampaignKind = {
  summary: 'strikes every call that leaves the agent, in every life cycle, with every fault',
  sources: ['crash-sweep', '../fail-points'],
  inMemory: true,
  options: {
    minutes: 'as many runs as fit into so many minutes, drawn by the seed; default: all',
    sample: 'so many runs, drawn by the seed',
    point: 'only this fail point',
    fault: 'only this fault: kill, kill-after, ENOSPC, EIO, delay',
    hit: 'only this hit of the point',
    scenario: 'only this life cycle, such as exec or exec/restart',
    page: 'write the grid to this file; default: docs/crash-sweep.md where all of it was asked for'
  },
  open: (place, wish) => CrashSweep.open(place, wish)
}

class CrashSweep implements Campaign {
  readonly lanes = lanes
  readonly failuresMost = 60
  readonly configuration: Campaign['configuration']
  readonly limitMs: number
  readonly #place: CampaignPlace
  readonly #wish: CampaignWish
  readonly #programs: string
  readonly #points: readonly FailPoint[]
  readonly #recordings: readonly Recording[]
  readonly #slots = new Slots(working)
  #worlds = 0

  private constructor(
    place: CampaignPlace,
    wish: CampaignWish,
    built: { readonly programs: string; readonly points: readonly FailPoint[] },
    recordings: readonly Recording[],
    limitMs: number
  ) {
    this.#place = place
    this.#wish = wish
    this.#programs = built.programs
    this.#points = built.points
    this.#recordings = recordings
    this.limitMs = limitMs
    this.configuration = { long: wish.long, node: process.versions.node }
  }

  static async open(place: CampaignPlace, wish: CampaignWish): Promise<CrashSweep> {
    const startedMs = performance.now()
    const built = await buildPrograms(place.root)
    await warm(built.programs, place)
    dockerArchive() // made once, before a master has to answer
    const minutes = numberOption(wish, 'minutes', 1)
    const left = (): number =>
      minutes === undefined ? Number.POSITIVE_INFINITY : minutes * 60_000 - (performance.now() - startedMs)
    const recordings = await record(place, wish, built.programs)
    return new CrashSweep(place, wish, built, recordings, left())
  }

  *names(): Iterable<string> {
    const { more, seed } = this.#wish
    const asked = more['point'] ?? more['fault'] ?? more['hit'] ?? more['scenario']
    if (asked === undefined) yield completeness
    const isOne = more['point'] !== undefined
    const all = cellsOf(this.#recordings, this.#points, this.#wish.long || isOne).filter((cell) => isAsked(cell, this.#wish))
    const drawn = shuffled(all, seed)
    yield* drawn.slice(0, numberOption(this.#wish, 'sample', 1) ?? drawn.length).map(nameOf)
  }

  replay(name: string): string {
    if (name === completeness) return 'crash-sweep --sample 1'
    const { scenario, variant, strike } = cellNamed(name)
    const where = `crash-sweep --scenario ${scenario}/${variant}`
    return strike === undefined ? where : `${where} --fault ${strike.fault} --hit ${strike.hit} --point '${strike.point}'`
  }

  async run(name: string, signal: AbortSignal): Promise<RunResult> {
    if (name === completeness) {
      return { violations: completenessProblems(this.#points, this.#recordings), counts: { points: this.#points.length } }
    }
    const { scenario, variant, strike } = cellNamed(name)
    const release = await this.#slots.take(signal)
    this.#worlds += 1
    const logName = createHash('sha256').update(name).digest('hex').slice(0, 12)
    try {
      const places = {
        programs: this.#programs,
        directory: join(this.#place.directory, String(this.#worlds)),
        deadlineMs: this.#wish.long ? deadlineMs.long : deadlineMs.short,
        logPath: join(this.#place.failures, `${logName}.log`),
        idle: release
      }
      const run = { scenario: scenarioNamed(scenario), variant, strike }
      const { violations, fired } = await carryOut(run, places, signal)
      return { violations, counts: { struck: fired ? 1 : 0, missed: fired || strike === undefined ? 0 : 1 } }
    } finally {
      release()
    }
  }

  report(finished: readonly FinishedRun[]): ReturnType<Campaign['report']> {
    const struck = finished.reduce((sum, r) => sum + (r.counts['struck'] ?? 0), 0)
    const missed = finished.reduce((sum, r) => sum + (r.counts['missed'] ?? 0), 0)
    const cells = cellsOf(this.#recordings, this.#points, this.#wish.long)
    const isWhole = Object.entries(this.#wish.more).every(([flag, value]) => flag === 'page' || value === undefined)
    const page = this.#wish.more['page'] ?? (isWhole ? join(this.#place.root, 'docs/crash-sweep.md') : undefined)
    if (page !== undefined) writePage(page, pageFacts(this.#place.root), this.#points, this.#recordings, cells, finished)
    const hit = new Set(this.#recordings.flatMap((r) => r.hits))
    return {
      rows: [
        { name: 'fail points in the sources', n: this.#points.length },
        { name: 'fail points hit', n: hit.size },
        { name: 'cells of the grid', n: cells.length, note: 'one hit of one point in one life cycle with one fault' },
        { name: 'faults that struck', n: struck },
        { name: 'faults whose hit did not come again', n: missed, note: 'hits depend on timing; the run counts all the same' }
      ],
      notes: [`${working} runs work side by side; those that sit out a delay wait beside them.`]
    }
  }
}

/** Every life cycle in every variant without a fault: which points it hits, and how often. */
async function record(place: CampaignPlace, wish: CampaignWish, programs: string): Promise<readonly Recording[]> {
  const point = wish.more['point']
  const all = scenarios.flatMap((scenario) => scenario.variants.map((variant) => ({ scenario, variant })))
  const asked = all.filter(({ scenario, variant }) => isScenario(wish, scenario.name, variant))
  if (point !== undefined) {
    const hits = Array.from({ length: Number(wish.more['hit'] ?? 1) }, () => point)
    return asked.map(({ scenario, variant }) => ({ scenario: scenario.name, variant, hits, violations: [] }))
  }
  const found: Recording[] = []
  const waiting = [...asked]
  const lane = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const { scenario, variant } = next
      const directory = join(place.directory, `r-${scenario.name}-${variant}`)
      const run = { scenario, variant, strike: undefined }
      const { hits, violations } = await carryOut(run, { programs, directory, deadlineMs: deadlineMs.long }, place.signal)
      found.push({ scenario: scenario.name, variant, hits, violations })
    }
  }
  await Promise.all(Array.from({ length: working }, lane))
  writeFileSync(join(programs, 'recordings.json'), JSON.stringify(found))
  return found.sort((a, b) => (a.scenario + a.variant < b.scenario + b.variant ? -1 : 1))
}

function isScenario({ more }: CampaignWish, scenario: string, variant: string): boolean {
  const asked = more['scenario']
  return asked === undefined || asked === scenario || asked === `${scenario}/${variant}`
}

function isAsked(cell: Cell, wish: CampaignWish): boolean {
  const { fault, hit } = wish.more
  if (!isScenario(wish, cell.scenario, cell.variant)) return false
  if (fault !== undefined && cell.strike?.fault !== fault) return false
  return hit === undefined || String(cell.strike?.hit) === hit
}

function shuffled<T>(list: readonly T[], seed: number): T[] {
  const random = seededRandom(seed)
  const drawn = [...list]
  for (let i = drawn.length - 1; i > 0; i -= 1) {
    const j = random.between(0, i)
    const [a, b] = [drawn[i], drawn[j]]
    if (a !== undefined && b !== undefined) [drawn[i], drawn[j]] = [b, a]
  }
  return drawn
}

const pageFacts = (root: string): PageFacts => ({
  commit: commitOf(root),
  date: new Date().toISOString().slice(0, 10),
  command: `npm run campaign -- ${process.argv.slice(2).join(' ')}`
})
