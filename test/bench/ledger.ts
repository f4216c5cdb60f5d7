import { type ChildProcess, fork } from 'node:child_process'
import { join } from 'node:path'
import { Fault } from '../../base/fault.ts'
import { type AppenderKind, appenderKinds, type Order } from './appender-kinds.ts'
import type { Bench, Outcome } from './bench.ts'
import { processCpuMs } from './machine.ts'
import { end } from './programs.ts'
import { judged, type Row, ratio } from './report.ts'
import { percentile, rounded, spreadOf } from './statistics.ts'

/** Short, so that whatever else the machine does meets all of them alike. */
const appendsAtATime = 25
const togetherAtATime = 5
const together = 32
/** Until the code is compiled, on both sides. */
const warmUps = 500

interface Measured {
  readonly one: number[]
  readonly many: number[]
}

/**
 * One record onto the disk: by the agent's ledger and by the master's log, each against `write` and `fdatasync` alone in an
 * otherwise idle Node process on a file of the same shape; and 32 of them at once.
 */
export async function ledger(bench: Bench): Promise<Outcome> {
  const appenders = await Promise.all(appenderKinds.map((kind) => Appender.start(bench, kind)))
  const measured = new Map(appenderKinds.map((kind): [AppenderKind, Measured] => [kind, { one: [], many: [] }]))
  for (const appender of appenders) {
    bench.progress(`warming up: ${appender.kind}`)
    await appender.order({ appends: warmUps, atOnce: 1 })
    await appender.order({ appends: warmUps / 10, atOnce: together })
  }
  for (let done = 0; done < bench.n; done += appendsAtATime) {
    bench.progress(`append ${done} of ${bench.n}`)
    for (const appender of appenders) {
      bench.signal.throwIfAborted()
      const one = await appender.order({ appends: appendsAtATime, atOnce: 1 })
      const many = await appender.order({ appends: togetherAtATime, atOnce: together })
      measured.get(appender.kind)?.one.push(...one)
      measured.get(appender.kind)?.many.push(...many)
    }
  }
  const of = (kind: AppenderKind): Measured => measured.get(kind) ?? { one: [], many: [] }
  return {
    rows: appenders.flatMap(({ kind, cpuMs }) => rowsOf(kind, of(kind), of(referenceOf(kind)), cpuMs)),
    goals: [
      judged(
        { name: 'append and sync, ledger', unit: 'x write + fdatasync, p50', bound: 'at most', goal: 1.3 },
        ratio(median(of('ledger').one), median(of('file that grows').one))
      ),
      judged(
        { name: `${together} at once, ledger`, unit: 'x one, p50', bound: 'at most', goal: 2 },
        ratio(median(of('ledger').many), median(of('ledger').one))
      ),
      judged(
        { name: 'append and sync, log of the master', unit: 'x write + fdatasync, p50', bound: 'at most', goal: 1.3 },
        ratio(median(of('log').one), median(of('file of zeros').one))
      ),
      judged(
        { name: `${together} at once, log of the master`, unit: 'x one, p50', bound: 'at most', goal: 2 },
        ratio(median(of('log').many), median(of('log').one))
      )
    ],
    notes: [
      'x: against write + fdatasync on a file of the same shape. The ledger’s file grows; the log’s was filled with zeros ahead of use.',
      `what the zeros are worth: write + fdatasync takes ${spread(of('file that grows').one)} on a file that grows, ${spread(of('file of zeros').one)} on one of zeros.`
    ]
  }
}

const median = (samples: readonly number[]): number => percentile(samples, 0.5)
const spread = (samples: readonly number[]): string => `${rounded(median(samples))} ms (p90 ${rounded(percentile(samples, 0.9))})`

const referenceOf = (kind: AppenderKind): AppenderKind =>
  kind === 'ledger' || kind === 'file that grows' ? 'file that grows' : 'file of zeros'

function rowsOf(kind: AppenderKind, own: Measured, reference: Measured, cpuMs: number): readonly Row[] {
  const x = ratio(median(own.one), median(reference.one))
  const perAppend = cpuMs / (own.one.length + own.many.length * together)
  const one = { name: kind, ...spreadOf(own.one), cpuMsEach: rounded(perAppend), ...(x === undefined ? {} : { p50Ratio: x }) }
  const isPeer = kind === referenceOf(kind)
  return isPeer ? [one] : [one, { name: `${kind}, ${together} at once`, ...spreadOf(own.many) }]
}

export class Appender {
  readonly kind: AppenderKind
  readonly #child: ChildProcess

  private constructor(kind: AppenderKind, child: ChildProcess) {
    this.kind = kind
    this.#child = child
  }

  static async start(bench: Bench, kind: AppenderKind): Promise<Appender> {
    const directory = join(bench.directory, kind.replaceAll(' ', '-'))
    const options = { env: { PATH: process.env['PATH'], UV_THREADPOOL_SIZE: '8' }, detached: true }
    const child = fork(join(import.meta.dirname, 'appender.mjs'), [kind, directory], options)
    bench.cleanup.add(`the appender to a ${kind}`, () => end(child))
    const appender = new Appender(kind, child)
    await appender.#answer()
    return appender
  }

  get cpuMs(): number {
    return processCpuMs(this.#child.pid ?? 0)
  }

  order(order: Order): Promise<readonly number[]> {
    const answer = this.#answer()
    this.#child.send(order)
    return answer
  }

  #answer(): Promise<readonly number[]> {
    return new Promise((resolve, reject) => {
      const died = (code: number | null): void => reject(new Fault('unavailable', `the ${this.kind} ended with ${code}`))
      this.#child.once('exit', died)
      this.#child.once('message', (samples) => {
        this.#child.off('exit', died)
        resolve(samples as readonly number[])
      })
    })
  }
}
