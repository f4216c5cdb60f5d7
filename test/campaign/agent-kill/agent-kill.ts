import { join } from 'node:path'
import { seededRandom } from '../../../base/random.ts'
import { isThere } from '../../bench/machine.ts'
import { type Campaign, type CampaignKind, type CampaignPlace, type CampaignWish, total } from '../campaign.ts'
import type { FinishedRun, RunResult } from '../resume.ts'
import { World } from '../world.ts'
import { planOf } from './plan.ts'
import { AgentKillRun } from './run.ts'

const lanes = 4

/** A churn of tasks while the agent is killed at random moments; each run is a seed. */
export const agentKill: CampaignKind = {
  summary: 'kills the agent with -9 at random moments of a churn of tasks',
  sources: ['agent-kill'],
  options: {},
  open: async (place, wish) => new AgentKill(place, wish)
}

class AgentKill implements Campaign {
  readonly lanes = lanes
  readonly configuration: Campaign['configuration']
  readonly #place: CampaignPlace
  readonly #wish: CampaignWish
  readonly #hasCrun = isThere('crun')
  #worlds = 0

  constructor(place: CampaignPlace, wish: CampaignWish) {
    this.#place = place
    this.#wish = wish
    this.configuration = { crun: this.#hasCrun, node: process.versions.node }
  }

  *names(): Iterable<string> {
    const last = this.#wish.runs === undefined ? Number.POSITIVE_INFINITY : this.#wish.seed + this.#wish.runs
    for (let seed = this.#wish.seed; seed < last; seed += 1) yield `seed ${seed}`
  }

  replay(name: string): string {
    return `agent-kill --runs 1 --seed ${seedOf(name)}`
  }

  async run(name: string, signal: AbortSignal): Promise<RunResult> {
    const seed = seedOf(name)
    const plan = planOf(seed, this.#hasCrun)
    const { root, directory, cleanup, failures } = this.#place
    this.#worlds += 1
    const losses = seededRandom(seed + 1)
    let run: AgentKillRun | undefined
    const world = await World.open({
      directory: join(directory, String(this.#worlds)),
      program: join(root, 'dist/start-agent.cjs'),
      withhold: () => run?.faultsToCome === true && losses.between(0, 7) < plan.lostAcknowledgements
    })
    const close = cleanup.add(`the world of ${name}`, () => world.close())
    try {
      run = new AgentKillRun(world, plan, signal)
      const result = await run.run()
      if (result.violations.length > 0) world.keepLog(join(failures, `seed-${seed}.log`))
      return result
    } catch (e) {
      world.keepLog(join(failures, `seed-${seed}.log`))
      throw e
    } finally {
      await close()
    }
  }

  report(finished: readonly FinishedRun[]): ReturnType<Campaign['report']> {
    const count = (name: string): number => total(finished, name)
    return {
      rows: [
        { name: 'kill -9 of the agent', n: count('kills') },
        { name: 'stops of the agent', n: count('stops') },
        { name: 'tasks', n: count('tasks') },
        { name: 'execs', n: count('execs') },
        { name: 'statuses', n: count('statuses'), note: `${count('repeats')} of them repeats` }
      ],
      notes: [`${lanes} runs side by side; a run's time is that of its whole world, from the first start to the last look.`]
    }
  }
}

const seedOf = (name: string): number => Number(name.split(' ')[1])
