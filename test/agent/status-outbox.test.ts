import t, { type Test } from 'tap'
import { openLedger } from '../../agent/ledger/ledger.ts'
import type { Ledger } from '../../agent/ports.ts'
import { StatusOutbox } from '../../agent/status-outbox.ts'
import type { Clock } from '../../base/clock.ts'
import { silentLog } from '../../base/log.ts'
import type { TaskState, TaskStatus } from '../../proto/gen/messages.ts'
import { containerId, taskRow } from './ledger/support.ts'

/** Time that stands still until `advance`. */
class HandClock implements Clock {
  #now = 0
  #sleepers: { readonly atMs: number; readonly wake: () => void }[] = []
  /** How long each sleep was asked to be. */
  readonly slept: number[] = []

  monotonicMs = (): number => this.#now
  wallMs = (): number => this.#now
  sleep = (ms: number, signal: AbortSignal): Promise<void> =>
    new Promise((resolve, reject) => {
      this.slept.push(ms)
      this.#sleepers.push({ atMs: this.#now + ms, wake: resolve })
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
    })

  async advance(ms: number): Promise<void> {
    this.#now += ms
    const due = this.#sleepers.filter(({ atMs }) => atMs <= this.#now)
    this.#sleepers = this.#sleepers.filter(({ atMs }) => atMs > this.#now)
    for (const { wake } of due) wake()
    await new Promise((resolve) => setImmediate(resolve))
  }
}

const most = { between: (_: number, high: number) => high }
const status = (n: number, state: TaskState): Partial<TaskStatus> => ({ containerId: containerId(n), taskId: `t-${n}`, state })

interface Bench {
  readonly ledger: Ledger
  readonly clock: HandClock
  readonly outbox: StatusOutbox
  readonly sent: string[]
  readonly send: (status: TaskStatus) => void
}

async function bench(t: Test, directory: string, config?: ConstructorParameters<typeof StatusOutbox>[1]): Promise<Bench> {
  const ledger = await openLedger({ log: silentLog }, { directory, reserveBytes: 4096 })
  const clock = new HandClock()
  const outbox = new StatusOutbox({ ledger, clock, random: most, log: silentLog }, config)
  const sent: string[] = []
  t.teardown(async () => {
    await outbox.stop()
    await ledger.close()
  })
  return { ledger, clock, outbox, sent, send: ({ taskId, state, number }) => sent.push(`${taskId} ${state} ${number}`) }
}

t.test('statuses are numbered, on the disk, and sent one at a time per task', async (t) => {
  const { ledger, outbox, sent, send } = await bench(t, t.testdir())
  await Promise.all([ledger.append(taskRow(1), 'disk'), ledger.append(taskRow(2), 'disk')])
  outbox.connect(send)
  const reported = await Promise.all([
    outbox.report(status(1, 'running')),
    outbox.report(status(1, 'finished')),
    outbox.report(status(2, 'running'))
  ])
  t.same(
    reported.map((s) => s.number),
    [1, 2, 3]
  )
  t.same(sent, ['t-1 running 1', 't-2 running 3'])
  await outbox.acknowledged(1)
  t.same(sent.slice(2), ['t-1 finished 2'])
  await outbox.acknowledged(2)
  await outbox.acknowledged(2)
  await outbox.acknowledged(99)
  t.same(ledger.view.tasks.get(containerId(1))?.unacknowledged, [])
  t.equal(ledger.view.tasks.get(containerId(1))?.latest?.state, 'finished')
})

t.test('what the sandbox of a pod goes through is kept, but no master hears of it and no number is missing for it', async (t) => {
  const { ledger, outbox, sent, send } = await bench(t, t.testdir())
  const pod = { sandboxId: containerId(1), containerIds: [containerId(2)] }
  await Promise.all([1, 2].map((n) => ledger.append(taskRow(n, 'host', { pod }), 'disk')))
  outbox.connect(send)
  for (const [n, state] of [
    [1, 'running'],
    [2, 'running'],
    [1, 'finished'],
    [2, 'finished']
  ] as const) {
    await outbox.report(status(n, state))
  }
  await outbox.acknowledged(0)
  await outbox.acknowledged(1)
  t.same(sent, ['t-2 running 1', 't-2 finished 2'])
  t.same(
    ledger.view.tasks.get(containerId(1))?.unacknowledged.map((s) => s.state),
    ['running', 'finished']
  )
})

t.test('nothing is sent before it is on the disk', async (t) => {
  const { ledger, clock } = await bench(t, t.testdir())
  const order: string[] = []
  const slow: Pick<Ledger, 'view' | 'append'> = {
    view: ledger.view,
    append: async (record, durability) => {
      await ledger.append(record, durability)
      order.push(`${durability} ${record.status?.state}`)
    }
  }
  const outbox = new StatusOutbox({ ledger: slow, clock, random: most, log: silentLog })
  t.teardown(() => outbox.stop())
  outbox.connect(({ state }) => order.push(`sent ${state}`))
  await outbox.report(status(1, 'running'))
  t.same(order, ['disk running', 'sent running'])
})

t.test('an unacknowledged status is repeated after 10 s, doubling to 10 min', async (t) => {
  const { clock, outbox, sent, send } = await bench(t, t.testdir())
  outbox.connect(send)
  await outbox.report(status(1, 'running'))
  for (let i = 0; i < 9; i += 1) await clock.advance(clock.slept.at(-1) ?? 0)
  t.same(
    clock.slept.slice(0, 9),
    [10, 20, 40, 80, 160, 320, 600, 600, 600].map((s) => s * 1_000)
  )
  t.equal(sent.length, 10)
  await outbox.acknowledged(1)
  await clock.advance(600_000)
  t.equal(sent.length, 10)
})

t.test('a reconnect sends every head at once, and nothing goes out while disconnected', async (t) => {
  const { clock, outbox, sent, send } = await bench(t, t.testdir())
  outbox.connect(send)
  await outbox.report(status(1, 'running'))
  outbox.disconnect()
  await outbox.report(status(2, 'running'))
  await clock.advance(600_000)
  t.same(sent, ['t-1 running 1'])
  outbox.connect(send)
  t.same(sent.slice(1), ['t-1 running 1', 't-2 running 2'])
})

t.test('what was not acknowledged is sent by the agent that comes next, with its number', async (t) => {
  const directory = t.testdir()
  const first = await bench(t, directory)
  await first.outbox.report(status(1, 'running'))
  await first.outbox.report(status(1, 'failed'))
  await first.outbox.stop()
  await first.ledger.close()
  const { outbox, sent, send } = await bench(t, directory)
  outbox.connect(send)
  t.same(sent, ['t-1 running 1'])
  await outbox.acknowledged(1)
  t.same(sent.slice(1), ['t-1 failed 2'])
  t.equal((await outbox.report(status(2, 'running'))).number, 3)
})

t.test('a task that is forgotten is no longer told', async (t) => {
  const { ledger, clock, outbox, sent, send } = await bench(t, t.testdir())
  outbox.connect(send)
  await outbox.report(status(1, 'finished'))
  await ledger.append({ forget: { containerId: containerId(1) } }, 'disk')
  await clock.advance(600_000)
  await clock.advance(600_000)
  t.equal(sent.length, 1)
})

t.test('of too many statuses the oldest in between is given up, never the one in flight nor an end', async (t) => {
  const { ledger, outbox, send } = await bench(t, t.testdir(), { repeat: { firstMs: 1, mostMs: 1 }, perTask: 3 })
  outbox.connect(send)
  for (let i = 0; i < 5; i += 1) await outbox.report(status(1, 'running'))
  await outbox.report(status(1, 'finished'))
  t.same(
    ledger.view.tasks.get(containerId(1))?.unacknowledged.map((s) => s.number),
    [1, 5, 6]
  )
})
