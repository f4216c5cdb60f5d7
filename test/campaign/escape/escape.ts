import { Fault } from '../../../base/fault.ts'
import { judged } from '../../bench/report.ts'
import { type Campaign, type CampaignKind, type CampaignPlace, type CampaignWish, total } from '../campaign.ts'
import type { FinishedRun, RunResult } from '../resume.ts'
import { attempts } from './all.ts'
import { EscapeStage, type RuntimeName } from './stage.ts'

const leastAttempts = 40
const leastWalls = 12

/** Ways out of a container, each tried behind its wall and without it. */
export const escapes: CampaignKind = {
  summary: 'tries to get out of containers; every attempt must fail, and succeed once its wall is taken down',
  sources: ['escape'],
  options: { only: 'attempts whose name or wall holds this text', runtime: 'runc or crun; default both' },
  open: async (place, wish) => new Escape(place, wish)
}

class Escape implements Campaign {
  readonly lanes = 2
  readonly limitMs = Number.POSITIVE_INFINITY
  readonly failuresMost = Number.POSITIVE_INFINITY
  readonly configuration: Campaign['configuration']
  readonly #place: CampaignPlace
  readonly #wish: CampaignWish
  readonly #runtimes: readonly RuntimeName[]
  #stage: Promise<EscapeStage> | undefined

  constructor(place: CampaignPlace, wish: CampaignWish) {
    this.#place = place
    this.#wish = wish
    this.#runtimes = runtimesOf(wish.more['runtime'])
    this.configuration = { attempts: attempts.length, runtimes: this.#runtimes.join() }
  }

  *names(): Iterable<string> {
    const only = this.#wish.more['only'] ?? ''
    let left = this.#wish.runs ?? Number.POSITIVE_INFINITY
    for (const runtime of this.#runtimes) {
      for (const { name, wall } of attempts) {
        if (!`${wall}: ${name}`.includes(only)) continue
        if (left === 0) return
        left -= 1
        yield `${runtime}, ${wall}: ${name}`
      }
    }
  }

  replay(name: string): string {
    const { attempt, runtime } = partsOf(name)
    return `escape --runtime ${runtime} --only ${JSON.stringify(`${attempt.wall}: ${attempt.name}`)}`
  }

  async run(name: string, signal: AbortSignal): Promise<RunResult> {
    const { attempt, runtime } = partsOf(name)
    this.#stage ??= this.#open()
    const stage = await this.#stage
    const { kind, told } = await stage.play(attempt, runtime, AbortSignal.any([signal, AbortSignal.timeout(60_000)]))
    if (kind === 'escaped') return { violations: [`it got out: ${told}`], counts: {} }
    if (kind === 'broken') return { violations: [`its program neither got out nor was refused: ${told}`], counts: {} }
    return { violations: [], counts: { [kind]: 1, [`${kind}: ${told}`]: 1 } }
  }

  report(finished: readonly FinishedRun[]): ReturnType<Campaign['report']> {
    const held = finished.filter((run) => run.counts['held'] === 1).map((run) => partsOf(run.name).attempt)
    const uncounted = finished.filter((run) => run.counts['uncounted'] === 1)
    const most = new Set(held.map(({ wall, name }) => `${wall}: ${name}`)).size
    const walls = new Set(held.map(({ wall }) => wall))
    const goals = [
      judged({ name: 'attempts that count', unit: 'attempts', bound: 'at least', goal: leastAttempts }, most),
      judged({ name: 'walls', unit: 'walls', bound: 'at least', goal: leastWalls }, walls.size)
    ]
    return {
      rows: [
        { name: 'attempts held, over all runtimes', n: total(finished, 'held') },
        { name: 'attempts without a working control, which do not count', n: uncounted.length }
      ],
      notes: [
        ...goals.map(
          (goal) => `${goal.name}: ${goal.actual}, of at least ${goal.goal}: ${goal.met === true ? 'met' : 'missed'}.`
        ),
        `Walls: ${[...walls].sort().join(', ')}.`,
        ...uncounted.map(({ name, counts }) => `Does not count: ${name}; ${toldOf(counts)}`)
      ]
    }
  }

  #open(): Promise<EscapeStage> {
    let undos = 0
    return EscapeStage.open({
      teardown: (undo) => {
        undos += 1
        this.#place.cleanup.add(`part ${undos} of the stage`, undo)
      }
    })
  }
}

const toldOf = (counts: FinishedRun['counts']): string =>
  Object.keys(counts)
    .find((key) => key.startsWith('uncounted: '))
    ?.slice('uncounted: '.length) ?? ''

function runtimesOf(text: string | undefined): readonly RuntimeName[] {
  if (text === undefined) return ['runc', 'crun']
  if (text === 'runc' || text === 'crun') return [text]
  throw new Fault('invalid', `--runtime must be runc or crun, not ${JSON.stringify(text)}`)
}

function partsOf(name: string) {
  const attempt = attempts.find((one) => name.endsWith(`, ${one.wall}: ${one.name}`))
  if (attempt === undefined) throw new Fault('invalid', `there is no attempt ${name}`)
  const runtime: RuntimeName = name.startsWith('crun') ? 'crun' : 'runc'
  return { attempt, runtime }
}
