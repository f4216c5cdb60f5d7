import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { Fault } from '../../../base/fault.ts'
import { type Campaign, type CampaignKind, type CampaignPlace, type CampaignWish, total } from '../campaign.ts'
import type { FinishedRun, RunResult } from '../resume.ts'
import { buildOlder } from './older-build.ts'
import { planOf } from './plan.ts'
import { MastersRun } from './run.ts'
import { MastersWorld } from './world.ts'

/** Three or five masters under load in namespaces of their own, while whatever can go wrong goes wrong; each run is a seed. */
export const masters: CampaignKind = {
  summary: 'kills, freezes, cuts off and starves masters while clients write, and judges what the clients were told',
  sources: ['masters', '../linearizability/checker.ts'],
  programs: ['master.cjs'],
  options: {},
  open: async (place, wish) => {
    for (const [tool, debian] of Object.entries(tools)) {
      if (!isInstalled(tool)) throw new Fault('unsupported', `the campaign of masters needs ${tool}: apt-get install ${debian}`)
    }
    return new MastersCampaign(place, wish, await buildOlder(place))
  }
}

/** By program or library, the Debian package that has it. */
const tools = {
  ip: 'iproute2',
  nft: 'nftables',
  gcc: 'gcc libc6-dev',
  'mkfs.ext4': 'e2fsprogs',
  faketime: 'faketime'
}

class MastersCampaign implements Campaign {
  readonly lanes = 1
  readonly configuration: Campaign['configuration'] = { node: process.versions.node }
  readonly #place: CampaignPlace
  readonly #wish: CampaignWish
  readonly #slowSync: string
  readonly #older: string
  #worlds = 0

  constructor(place: CampaignPlace, wish: CampaignWish, older: string) {
    this.#place = place
    this.#wish = wish
    this.#older = older
    this.#slowSync = join(place.directory, 'slow-sync.so')
    const source = join(place.root, 'test/campaign/masters/slow-sync.c')
    execFileSync('gcc', ['-O2', '-shared', '-fPIC', '-o', this.#slowSync, source, '-ldl'])
  }

  *names(): Iterable<string> {
    const last = this.#wish.runs === undefined ? Number.POSITIVE_INFINITY : this.#wish.seed + this.#wish.runs
    for (let seed = this.#wish.seed; seed < last; seed += 1) yield `seed ${seed}`
  }

  replay(name: string): string {
    return `masters --runs 1 --seed ${seedOf(name)}`
  }

  async run(name: string, signal: AbortSignal): Promise<RunResult> {
    const seed = seedOf(name)
    const plan = planOf(seed)
    const { root, directory, cleanup, failures } = this.#place
    this.#worlds += 1
    const world = await MastersWorld.open({
      directory: join(directory, String(this.#worlds)),
      programs: { newer: join(root, 'dist/master.cjs'), older: this.#older },
      build: plan.isRolling ? 'older' : 'newer',
      gate: join(root, 'test/campaign/masters/gate.mjs'),
      slowSync: this.#slowSync,
      masters: plan.masters + spares,
      smallDisk: plan.smallDisk,
      withClock: plan.withClock,
      seed
    })
    const close = cleanup.add(`the masters of ${name}`, () => world.close())
    const keepLogs = (): void => {
      const folder = join(failures, `seed-${seed}`)
      mkdirSync(folder, { recursive: true })
      for (const { id, logPath } of world.places) if (existsSync(logPath)) copyFileSync(logPath, join(folder, `m${id}.log`))
    }
    try {
      const result = await new MastersRun(world, plan, seed, signal).run()
      if (result.violations.length > 0) keepLogs()
      return result
    } catch (e) {
      keepLogs()
      throw e
    } finally {
      await close()
    }
  }

  report(finished: readonly FinishedRun[]): ReturnType<Campaign['report']> {
    const count = (name: string): number => total(finished, name)
    const row = (name: string, counted = name) => ({ name, n: count(counted) })
    const faults = [
      'kill',
      'kill-all',
      'freeze',
      'isolate',
      'one-way',
      'one-link',
      'bridge',
      'halves',
      'bad-links',
      'slow-sync'
    ] as const
    const more = [
      'failing-sync',
      'full-disk',
      'clock-step',
      'transfer',
      'snapshot',
      'grow',
      'replace',
      'remove',
      'upgrade',
      'downgrade'
    ] as const
    const recoveries = finished.map((run) => run.counts['recoveryMs'] ?? 0)
    return {
      rows: [
        row('calls of clients', 'operations'),
        { name: 'changes acknowledged', n: count('acknowledged'), note: `${count('unknown')} more of which nobody knows` },
        row('terms led', 'terms'),
        ...[...faults, ...more].map((kind) => row(kind)),
        { name: 'longest way back to a change, ms', n: Math.max(0, ...recoveries) },
        { name: 'names whose history was not decided', n: count('names not decided') }
      ],
      notes: ['The programs are those of dist/; build them first. A name that is not decided is no pass: it is counted apart.']
    }
  }
}

/** For what joins during the storm. */
const spares = 4

const seedOf = (name: string): number => Number(name.split(' ')[1])

const isInstalled = (tool: string): boolean =>
  ['/usr/sbin', '/usr/bin', '/sbin', '/bin'].some((folder) => existsSync(join(folder, tool)))
