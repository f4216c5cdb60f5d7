import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { seededRandom } from '../../../base/random.ts'
import { type Campaign, type CampaignKind, type CampaignPlace, type CampaignWish, numberOption, total } from '../campaign.ts'
import type { FinishedRun, RunResult } from '../resume.ts'
import { carryOut, scenarioNamed } from './run.ts'
import { scenarios } from './scenarios.ts'

const lanes = 4
const deadlineMs = { short: 80_000, long: 160_000 }
/** Looked at before anything of the life cycle happens: Node's own start is no step of ours. */
const firstCall = 1_000

/**
 * Kills the shipped agent at the N-th system call of its main thread, which starts every other: a check of the crash sweep that
 * knows nothing of our fail points. Children are not followed: it is the agent that dies.
 */
export const syscallSweep: CampaignKind = {
  summary: 'kills the agent at its N-th system call, in every life cycle, without our fail points',
  sources: ['crash-sweep'],
  inMemory: true,
  options: {
    minutes: 'as many runs as fit into so many minutes; default: what --runs or the time says',
    scenario: 'only this life cycle, such as exec/plain',
    call: 'only this system call, counted from the start of the agent'
  },
  open: (place, wish) => SyscallSweep.open(place, wish)
}

interface Counted {
  readonly where: string
  readonly calls: number
}

class SyscallSweep implements Campaign {
  readonly lanes = lanes
  readonly configuration: Campaign['configuration'] = { node: process.versions.node }
  readonly limitMs?: number
  readonly #place: CampaignPlace
  readonly #wish: CampaignWish
  readonly #counted: readonly Counted[]
  #worlds = 0

  private constructor(place: CampaignPlace, wish: CampaignWish, counted: readonly Counted[]) {
    this.#place = place
    this.#wish = wish
    this.#counted = counted
    const minutes = numberOption(wish, 'minutes', 1)
    if (minutes !== undefined) this.limitMs = minutes * 60_000
  }

  static async open(place: CampaignPlace, wish: CampaignWish): Promise<SyscallSweep> {
    const asked = wish.more['scenario']
    // One that is struck before it begins needs the fail points.
    const wheres = scenarios
      .filter((s) => s.first === undefined)
      .flatMap((s) => s.variants.map((v) => `${s.name}/${v}`))
      .filter((where) => asked === undefined || asked === where || where.startsWith(`${asked}/`))
    const counted: Counted[] = []
    if (wish.more['call'] !== undefined)
      return new SyscallSweep(
        place,
        wish,
        wheres.map((where) => ({ where, calls: 0 }))
      )
    const waiting = [...wheres]
    const lane = async (): Promise<void> => {
      for (let where = waiting.shift(); where !== undefined; where = waiting.shift()) {
        counted.push({ where, calls: await countCalls(place, where, counted.length) })
      }
    }
    await Promise.all(Array.from({ length: lanes }, lane))
    return new SyscallSweep(
      place,
      wish,
      counted.sort((a, b) => (a.where < b.where ? -1 : 1))
    )
  }

  *names(): Iterable<string> {
    const call = numberOption(this.#wish, 'call', 1)
    if (call !== undefined) {
      for (const { where } of this.#counted) yield `${where} ${call}`
      return
    }
    const random = seededRandom(this.#wish.seed)
    for (let run = 0; this.#wish.runs === undefined || run < this.#wish.runs; run += 1) {
      const at = this.#counted[run % this.#counted.length]
      if (at === undefined) return
      yield `${at.where} ${random.between(firstCall, Math.max(firstCall, at.calls))}`
    }
  }

  replay(name: string): string {
    const [where = '', call = ''] = name.split(' ')
    return `syscall-sweep --scenario ${where} --call ${call}`
  }

  async run(name: string, signal: AbortSignal): Promise<RunResult> {
    const [where = '', call = ''] = name.split(' ')
    this.#worlds += 1
    const wrapper = ['strace', '-qq', '-o', '/dev/null', '-e', 'trace=all', '-e', `inject=all:signal=KILL:when=${call}`]
    const directory = join(this.#place.directory, `s${this.#worlds}`)
    const deadline = this.#wish.long ? deadlineMs.long : deadlineMs.short
    const logPath = join(this.#place.failures, `${where.replace('/', '-')}-${call}.log`)
    const { violations, died } = await carryOut(runAt(where), { ...this.#places(directory, deadline), logPath, wrapper }, signal)
    return { violations, counts: { killed: died ? 1 : 0 } }
  }

  report(finished: readonly FinishedRun[]): ReturnType<Campaign['report']> {
    return {
      rows: [
        { name: 'agents killed at a system call', n: total(finished, 'killed'), note: 'the others ended before that call' },
        { name: 'system calls counted', n: this.#counted.reduce((sum, c) => sum + c.calls, 0) }
      ],
      notes: [`Life cycles: ${this.#counted.map((c) => `${c.where} ${c.calls}`).join(', ')}.`]
    }
  }

  #places(directory: string, deadline: number) {
    return { programs: join(this.#place.root, 'dist'), directory, deadlineMs: deadline }
  }
}

function runAt(where: string) {
  const [name = '', variant = 'plain'] = where.split('/')
  const found = scenarioNamed(name)
  const known = found.variants.find((v) => v === variant) ?? 'plain'
  return { scenario: found, variant: known, strike: undefined }
}

/** System calls of the agent's main thread from its start to the end of the life cycle. */
async function countCalls(place: CampaignPlace, where: string, index: number): Promise<number> {
  const output = join(place.directory, `calls-${index}-${where.replace('/', '-')}`)
  const directory = join(place.directory, `c-${where.replace('/', '-')}`)
  const wrapper = ['strace', '-qq', '-o', output, '-e', 'trace=all']
  const places = { programs: join(place.root, 'dist'), directory, deadlineMs: deadlineMs.long, wrapper }
  await carryOut(runAt(where), places, place.signal)
  return readFileSync(output, 'latin1').split('\n').length - 1
}
