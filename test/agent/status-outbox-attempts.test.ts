import t, { type Test } from 'tap'
import { openLedger } from '../../agent/ledger/ledger.ts'
import type { Ledger } from '../../agent/ports.ts'
import { StatusOutbox } from '../../agent/status-outbox.ts'
import type { Clock } from '../../base/clock.ts'
import { silentLog } from '../../base/log.ts'
import { type Random, seededRandom } from '../../base/random.ts'
import type { TaskStatus } from '../../proto/gen/messages.ts'
import { containerId, taskRow } from './ledger/support.ts'

// OUTBOX_SEEDS=N for more, OUTBOX_FIRST=S to begin elsewhere.
const seeds = Number(process.env['OUTBOX_SEEDS'] ?? 12)
const first = Number(process.env['OUTBOX_FIRST'] ?? 1)
const steps = 60
const tasks = 3

/** Time that passes for nobody: a repeat comes with the next connection. */
const clock: Clock = {
  monotonicMs: () => 0,
  wallMs: () => 0,
  sleep: (_, signal) => new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)))
}

/** One task as its attempts follow each other. */
interface Line {
  readonly attempts: number[]
  isRunning: boolean
}

/** An agent with its ledger, and a master that hears, forgets to answer, and answers late or twice. */
class Run {
  readonly #directory: string
  readonly #random: Random
  readonly #lines: Line[] = []
  readonly #heard: TaskStatus[] = []
  readonly #reported: TaskStatus[] = []
  readonly #pending = new Set<Promise<unknown>>()
  #ledger!: Ledger
  #outbox!: StatusOutbox
  #containers = 0

  constructor(directory: string, random: Random) {
    this.#directory = directory
    this.#random = random
  }

  async run(): Promise<void> {
    await this.#open()
    for (let n = 0; n < tasks; n += 1) {
      this.#containers += 1
      await this.#ledger.append(taskRow(this.#containers), 'disk')
      this.#lines.push({ attempts: [this.#containers], isRunning: false })
    }
    for (let step = 0; step < steps; step += 1) {
      this.#step()
      if (this.#random.between(0, 2) === 0) await new Promise((resolve) => setImmediate(resolve))
      if (this.#random.between(0, 15) === 0) await this.#restart()
    }
    await this.#drain()
    await this.close()
  }

  async close(): Promise<void> {
    await Promise.all(this.#pending)
    await this.#outbox.stop()
    await this.#ledger.close()
  }

  /** What is wrong with what the master heard; empty where nothing is. */
  problems(): readonly string[] {
    const news = this.#heard.filter((s, i) => this.#heard.findIndex(({ number }) => number === s.number) === i)
    const told = (of: readonly TaskStatus[], taskId: string): string =>
      of
        .filter((s) => s.taskId === taskId)
        .map((s) => `${s.number} ${s.attempt} ${s.state}`)
        .join(', ')
    const wrong = this.#lines.flatMap((_, n) => {
      const [reported, heard] = [told(this.#reported, `t-${n}`), told(news, `t-${n}`)]
      return reported === heard ? [] : [`t-${n} was told as ${heard}, and is ${reported}`]
    })
    const repeats = this.#heard.filter((s) => JSON.stringify(s) !== JSON.stringify(news.find((o) => o.number === s.number)))
    const left = [...this.#ledger.view.tasks.values()].flatMap((task) => task.unacknowledged.map((s) => s.number))
    return [
      ...wrong,
      ...repeats.map((s) => `${s.number} has other words when repeated`),
      ...left.map((n) => `${n} was never taken`)
    ]
  }

  async #open(): Promise<void> {
    this.#ledger = await openLedger(
      { log: silentLog },
      { directory: this.#directory, reserveBytes: 1, snapshotAfterBytes: 4_096 }
    )
    this.#outbox = new StatusOutbox({ ledger: this.#ledger, clock, random: this.#random, log: silentLog })
    this.#connect()
  }

  #connect(): void {
    this.#outbox.connect((status) => {
      this.#heard.push(status)
      // The answer may be lost; the status is then repeated on the next connection.
      if (this.#random.between(0, 3) > 0) this.#do(this.#outbox.acknowledged(status.number))
    })
  }

  #step(): void {
    const line = this.#lines[this.#random.between(0, tasks - 1)] as Line
    const draw = this.#random.between(0, 9)
    if (draw < 7) this.#live(line)
    else if (draw === 7) this.#forget(line)
    else if (draw === 8) this.#connect()
    else this.#answerAgain()
  }

  /** The next thing that the newest attempt comes to; in one turn with what follows, as the runner of a task does it. */
  #live(line: Line): void {
    if (!line.isRunning) this.#report(line, 'running')
    else {
      this.#report(line, 'failed')
      this.#containers += 1
      const [previous, next] = [containerId(line.attempts.at(-1) ?? 0), containerId(this.#containers)]
      const row = { containerId: next, previousContainerId: previous, attempt: line.attempts.length + 1 }
      this.#do(this.#ledger.append({ restart: row }, 'disk'))
      line.attempts.push(this.#containers)
    }
    line.isRunning = !line.isRunning
  }

  #report(line: Line, state: 'running' | 'failed'): void {
    const container = containerId(line.attempts.at(-1) ?? 0)
    const taskId = `t-${this.#lines.indexOf(line)}`
    const status = { taskId, containerId: container, attempt: line.attempts.length, state, willRestart: state === 'failed' }
    this.#do(this.#outbox.report(status).then((told) => this.#reported.push(told)))
  }

  /** What the agent does with attempts long gone, once their end is told. */
  #forget(line: Line): void {
    const old = line.attempts[this.#random.between(0, Math.max(0, line.attempts.length - 2))] ?? 0
    const isTold = this.#ledger.view.tasks.get(containerId(old))?.unacknowledged.length === 0
    const isOver =
      old !== line.attempts.at(-1) && this.#reported.some((s) => s.containerId === containerId(old) && s.state === 'failed')
    if (isTold && isOver) this.#do(this.#ledger.append({ forget: { containerId: containerId(old) } }, 'disk'))
  }

  #answerAgain(): void {
    const some = this.#heard[this.#random.between(0, Math.max(0, this.#heard.length - 1))]
    if (some !== undefined) this.#do(this.#outbox.acknowledged(some.number))
  }

  async #restart(): Promise<void> {
    await this.close()
    await this.#open()
  }

  /** A master that takes everything. */
  async #drain(): Promise<void> {
    await Promise.all(this.#pending)
    const waiting = (): number => [...this.#ledger.view.tasks.values()].reduce((sum, task) => sum + task.unacknowledged.length, 0)
    this.#outbox.connect((status) => {
      this.#heard.push(status)
      this.#do(this.#outbox.acknowledged(status.number))
    })
    for (let before = Number.POSITIVE_INFINITY; waiting() > 0 && waiting() < before; ) {
      before = waiting()
      while (this.#pending.size > 0) await Promise.all(this.#pending)
    }
  }

  #do(work: Promise<unknown>): void {
    this.#pending.add(work)
    void work.finally(() => this.#pending.delete(work)).catch(() => undefined) // awaited by `close`, which fails then
  }
}

t.test('whatever is lost, late or repeated, the master hears each status of every attempt, in order', async (t: Test) => {
  for (let seed = first; seed < first + seeds; seed += 1) {
    const run = new Run(t.testdir(), seededRandom(seed))
    await run.run()
    t.same(run.problems(), [], `again: OUTBOX_FIRST=${seed} OUTBOX_SEEDS=1`)
  }
})
