import { join } from 'node:path'
import { Fault } from '../../../base/fault.ts'
import { type Campaign, type CampaignKind, type CampaignPlace, type CampaignWish, total } from '../campaign.ts'
import type { FinishedRun, RunResult } from '../resume.ts'
import { World } from '../world.ts'
import { LogRun, linesPerSecond } from './run.ts'

const killsEach = 20

/** One writer of numbered lines in each run, through twenty kills of the agent and as many rotations as its log needs. */
export const logs: CampaignKind = {
  summary: `a writer of ${linesPerSecond.toLocaleString('en')} numbered lines a second, through kills of the agent and rotations`,
  sources: ['logs'],
  options: { kills: `kills altogether, ${killsEach} in each run` },
  open: async (place, wish) => new Logs(place, wish)
}

class Logs implements Campaign {
  /** The machine is the writer’s and the agent’s: two would only slow each other down. */
  readonly lanes = 1
  readonly configuration: Campaign['configuration'] = { killsEach, linesPerSecond, node: process.versions.node }
  readonly #place: CampaignPlace
  readonly #wish: CampaignWish
  /** Whoever names the kills gets them all. */
  readonly limitMs: number | undefined
  #worlds = 0

  constructor(place: CampaignPlace, wish: CampaignWish) {
    this.#place = place
    this.#wish = wish
    this.limitMs = wish.more['kills'] === undefined ? undefined : Number.POSITIVE_INFINITY
  }

  *names(): Iterable<string> {
    const { seed } = this.#wish
    const last = seed + (this.#runs() ?? Number.POSITIVE_INFINITY)
    for (let next = seed; next < last; next += 1) yield `seed ${next}`
  }

  #runs(): number | undefined {
    const { runs, more } = this.#wish
    if (more['kills'] === undefined) return runs
    const kills = Number(more['kills'])
    if (!Number.isSafeInteger(kills) || kills < 1) throw new Fault('invalid', '--kills must be a whole number above 0')
    return Math.ceil(kills / killsEach)
  }

  replay(name: string): string {
    return `logs --runs 1 --seed ${seedOf(name)}`
  }

  async run(name: string, signal: AbortSignal): Promise<RunResult> {
    const { root, directory, cleanup, failures } = this.#place
    this.#worlds += 1
    const world = await World.open({ directory: join(directory, String(this.#worlds)), program: join(root, 'dist/agent.cjs') })
    const close = cleanup.add(`the world of ${name}`, () => world.close())
    try {
      const result = await new LogRun(world, { seed: seedOf(name), kills: killsEach }, signal).run()
      if (result.violations.length > 0) world.keepLog(join(failures, `seed-${seedOf(name)}.log`))
      return result
    } finally {
      await close()
    }
  }

  report(finished: readonly FinishedRun[]): ReturnType<Campaign['report']> {
    const count = (what: string): number => total(finished, what)
    const writtenMs = count('writtenMs')
    return {
      rows: [
        { name: 'kill -9 of the agent', n: count('kills') },
        { name: 'rotations', n: count('rotations') },
        { name: 'lines', n: count('lines'), ...(writtenMs === 0 ? {} : { perSecond: (count('lines') * 1000) / writtenMs }) },
        { name: 'gaps or doubled lines', n: count('broken') }
      ],
      notes: ['Every line is looked for twice: in the files, by code of its own, and in what `task logs` answers.']
    }
  }
}

const seedOf = (name: string): number => Number(name.split(' ')[1])
