import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { seededRandom } from '../../../base/random.ts'
import { judged } from '../../bench/report.ts'
import type { Campaign, CampaignKind, CampaignPlace, CampaignWish } from '../campaign.ts'
import type { FinishedRun, RunResult } from '../resume.ts'
import { World } from '../world.ts'
import { type Failure, failures } from './failures.ts'
import { Stage } from './stage.ts'

const lanes = 2
const variants = 3
/** Of these so many must be told right: the 29 of 30. */
const wantedShare = 29 / 30

/** Tasks that fail in known ways, each in variants drawn by seed: the first cause of the agent must be the right one. */
export const causes: CampaignKind = {
  summary: 'lets tasks fail in known ways and looks whether the agent names the right cause first',
  sources: ['causes'],
  options: { only: 'failures whose name holds this text' },
  open: async (place, wish) => new Causes(place, wish)
}

class Causes implements Campaign {
  readonly lanes = lanes
  readonly configuration: Campaign['configuration']
  readonly #place: CampaignPlace
  readonly #wish: CampaignWish
  #shared: Promise<World> | undefined
  #worlds = 0
  readonly #close = new Map<World, () => Promise<void>>()

  constructor(place: CampaignPlace, wish: CampaignWish) {
    this.#place = place
    this.#wish = wish
    this.configuration = { node: process.versions.node, variants }
  }

  *names(): Iterable<string> {
    const { seed, runs = failures.length * variants, more } = this.#wish
    const chosen = failures.filter(({ name }) => name.includes(more['only'] ?? ''))
    let left = runs
    for (let variant = 0; variant < variants; variant += 1) {
      for (const { name } of chosen) {
        if (left === 0) return
        left -= 1
        yield `seed ${seed}, variant ${variant}: ${name}`
      }
    }
  }

  replay(name: string): string {
    const { seed, failure } = partsOf(name)
    return `causes --seed ${seed} --only ${JSON.stringify(failure.name)}`
  }

  async run(name: string, signal: AbortSignal): Promise<RunResult> {
    const { failure, digest } = partsOf(name)
    if (failure.alone !== true) this.#shared ??= this.#open(signal)
    const world = await (failure.alone === true ? this.#open(signal) : (this.#shared as Promise<World>))
    const stage = new Stage(world, digest.slice(0, 32), seededRandom(Number.parseInt(digest.slice(32, 40), 16)), signal)
    try {
      await failure.play(stage)
      const { state, reason, message, exitCode, signal: ended, causes: told } = await stage.ended()
      const [first] = told
      if (first?.kind === failure.cause) return { violations: [], counts: { [first.certainty]: 1 } }
      const seen = {
        state,
        reason,
        message,
        exitCode,
        signal: ended,
        causes: told.map((c) => `${c.kind}: ${c.summary} ${c.evidence.join('; ')}`)
      }
      return { violations: [`the cause is ${failure.cause}, and the agent tells ${JSON.stringify(seen)}`], counts: {} }
    } finally {
      if (failure.alone === true) await this.#close.get(world)?.()
    }
  }

  report(finished: readonly FinishedRun[]): ReturnType<Campaign['report']> {
    const right = finished.filter((run) => run.violations.length === 0).length
    const share = judged(
      { name: 'first causes that are right', unit: 'of all', bound: 'at least', goal: wantedShare },
      finished.length === 0 ? undefined : right / finished.length
    )
    const certain = ['proved', 'likely', 'possible'].map((word) => ({
      name: `right and told as ${word}`,
      n: finished.filter((run) => run.counts[word] === 1).length
    }))
    const met = share.met === true ? 'met' : 'missed'
    return {
      rows: certain,
      notes: [
        `${right} of ${finished.length} first causes are right; ${failures.length} failures, ${variants} variants each; the goal of 29 of 30 is ${met}.`
      ]
    }
  }

  /** An agent that sees who sends signals, and a file system of 256 KiB that tasks can fill: in mounts that nobody else sees. */
  async #open(signal: AbortSignal): Promise<World> {
    this.#worlds += 1
    const directory = join(this.#place.directory, String(this.#worlds))
    const tracing = join(directory, 't')
    const small = join(directory, 'm/small')
    const mounts = `mount -t tracefs tracefs ${tracing}; mount -t tmpfs -o size=256k,mode=777 tmpfs ${small}; exec "$@"`
    const world = await World.open({
      directory,
      program: join(this.#place.root, 'dist/agent.cjs'),
      wrapper: ['unshare', '-m', '--propagation', 'private', 'sh', '-c', mounts, 'sh']
    })
    mkdirSync(tracing)
    mkdirSync(small)
    const instance = `hearth-${basename(world.places.cgroupParent)}`
    const close = this.#place.cleanup.add(`the world ${this.#worlds}`, async () => {
      await world.close()
      dropTracing(instance)
    })
    this.#close.set(world, close)
    await world.startAndRegister(signal)
    return world
  }
}

/** An agent that was killed leaves its ring to the next one; here there is none. */
function dropTracing(instance: string): void {
  const drop = `mount -t tracefs tracefs /mnt; cd /mnt/instances; [ ! -d ${instance} ] || rmdir ${instance}`
  execFileSync('unshare', ['-m', '--propagation', 'private', 'sh', '-c', drop])
}

function partsOf(name: string): { readonly seed: number; readonly failure: Failure; readonly digest: string } {
  const [, seed = '', wanted = ''] = /^seed (\d+), variant \d+: (.*)$/.exec(name) ?? []
  const failure = failures.find((f) => f.name === wanted)
  if (failure === undefined) throw new Error(`there is no failure ${wanted}`)
  return { seed: Number(seed), failure, digest: createHash('sha256').update(`causes ${name}`).digest('hex') }
}
