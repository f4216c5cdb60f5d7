import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { type KeptLog, overdue, parseKept } from '../../../agent/logs/kept-log.ts'
import { KeptLogs } from '../../../agent/logs/kept-logs.ts'
import type { Clock } from '../../../base/clock.ts'
import { silentLog } from '../../../base/log.ts'
import { fuzzRuns } from '../../support/fuzz-runs.ts'

const hourMs = 3_600_000

/** Time that passes when it is told to. */
class SteppedClock implements Clock {
  nowMs = Date.UTC(2026, 10, 22)
  #wake: () => void = () => undefined
  readonly monotonicMs = (): number => this.nowMs
  readonly wallMs = (): number => this.nowMs

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    const untilMs = this.nowMs + ms
    return new Promise((resolve, reject) => {
      this.#wake = () => (this.nowMs >= untilMs ? resolve() : undefined)
      if (signal.aborted) reject(signal.reason as Error)
      signal.addEventListener('abort', () => reject(signal.reason as Error))
    })
  }

  pass(ms: number): void {
    this.nowMs += ms
    this.#wake()
  }
}

const idOf = (n: number): string => String(n).padStart(32, '0')

function place(t: Test) {
  const directory = t.testdir()
  const clock = new SteppedClock()
  const config = { directory: join(directory, 'kept-logs'), keepMs: 2 * hourMs, maxBytes: 1_000 }
  const begin = async (): Promise<KeptLogs> => {
    const logs = new KeptLogs({ clock, log: silentLog }, config)
    await logs.start()
    t.teardown(() => logs.stop())
    return logs
  }
  const sandbox = (n: number, bytes = 10): string => {
    const path = join(directory, 'sandboxes', idOf(n))
    mkdirSync(join(path, 'files'), { recursive: true })
    writeFileSync(join(path, 'log'), 'x'.repeat(bytes))
    writeFileSync(join(path, 'log.1'), '')
    writeFileSync(join(path, 'recorder.jsonl'), '')
    return path
  }
  const about = (n: number, taskId: string, attempt = 1) => ({ containerId: idOf(n), frameworkId: 'f', taskId, attempt })
  return { directory, clock, config, begin, sandbox, about }
}

/** Resolves once that log is kept no longer. Whoever slept just before the time was set sleeps for one more of its milliseconds. */
async function goes(logs: KeptLogs, clock: SteppedClock, taskId: string): Promise<void> {
  for (; (await logs.find('f', taskId)) !== undefined; clock.pass(1)) await pause(1)
}

t.test('a kept log is found again, by the next agent too, until its time is over; then it is told when it went', async (t) => {
  const { clock, config, begin, sandbox, about } = place(t)
  const first = await begin()
  const path = sandbox(1)
  t.equal(await first.keep(path, about(1, 'web')), true)
  t.notOk(existsSync(path))
  t.same(readdirSync(first.folderOf(about(1, 'web'))).sort(), ['about.json', 'log', 'log.1'], 'the log, and nothing else')
  t.match(await first.find('f', 'web'), { containerId: idOf(1), bytes: 10, removedAtMs: clock.nowMs })
  t.equal(await first.find('g', 'web'), undefined)
  t.equal(await first.find('f', 'web', 2), undefined)
  await first.stop()

  const next = await begin()
  t.match(await next.find('f', 'web', 1), { containerId: idOf(1) })
  t.equal(await next.whyGone('f', 'web'), undefined)
  clock.pass(2 * hourMs - 1)
  t.match(await next.find('f', 'web'), { containerId: idOf(1) })
  clock.pass(1)
  await goes(next, clock, 'web')
  const why =
    /^the logs of task web are no longer kept: they were removed at 2026-11-22T02:00:00.0..Z; this node keeps them for 2 h/
  t.match(await next.whyGone('f', 'web'), why)
  t.same(readdirSync(config.directory), ['removed.json'])
  t.match(await (await begin()).whyGone('f', 'web'), why, 'also after a restart')
  t.equal(await next.whyGone('f', 'other'), undefined)
})

t.test('where there is no room for all, the oldest go, and what is being kept is waited for', async (t) => {
  const { clock, begin, sandbox, about } = place(t)
  const logs = await begin()
  for (const n of [1, 2, 3]) {
    await logs.keep(sandbox(n, 400), about(n, `t${n}`))
    clock.pass(1)
  }
  await goes(logs, clock, 't1')
  t.match(await logs.whyGone('f', 't1'), /this node keeps 0 MiB of removed tasks/)
  t.match(await logs.find('f', 't2'), { containerId: idOf(2) })
  const keeping = logs.keep(sandbox(4, 1), about(4, 't4'))
  t.match(await logs.find('f', 't4'), { containerId: idOf(4) })
  t.equal(await keeping, true)
})

t.test('of several under one name the one that went last answers, and its newest attempt', async (t) => {
  const { clock, begin, sandbox, about } = place(t)
  const logs = await begin()
  await logs.keep(sandbox(1), about(1, 'web', 7))
  clock.pass(1)
  await logs.keep(sandbox(2), about(2, 'web', 1))
  await logs.keep(sandbox(3), about(3, 'web', 2))
  t.match(await logs.find('f', 'web'), { containerId: idOf(3) })
  t.match(await logs.find('f', 'web', 1), { containerId: idOf(2) })
  t.match(await logs.find('f', 'web', 7), { containerId: idOf(1) })
})

t.test('nothing is kept of a task without a log; one that was moved already counts as kept', async (t) => {
  const { directory, begin, about } = place(t)
  const logs = await begin()
  mkdirSync(join(directory, 'sandboxes', idOf(1), 'files'), { recursive: true })
  t.equal(await logs.keep(join(directory, 'sandboxes', idOf(1)), about(1, 'web')), false)
  t.ok(existsSync(join(directory, 'sandboxes', idOf(1))), 'whoever asked removes it')
  t.equal(await logs.keep(join(directory, 'sandboxes', idOf(2)), about(2, 'web')), false)
  mkdirSync(logs.folderOf({ containerId: idOf(3) }), { recursive: true })
  writeFileSync(join(logs.folderOf({ containerId: idOf(3) }), 'about.json'), '{}')
  t.equal(await logs.keep(join(directory, 'sandboxes', idOf(3)), about(3, 'web')), true)
})

t.test(
  'any bytes where a kept log says whose it is, or what was removed: the others are found, and it goes in time',
  async (t) => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), fc.uint8Array({ maxLength: 200 }), async (about, removed) => {
        const { clock, config, begin, sandbox, about: of } = place(t)
        const first = await begin()
        await first.keep(sandbox(1), of(1, 'web'))
        await first.keep(sandbox(2), of(2, 'damaged'))
        await first.stop()
        writeFileSync(join(config.directory, idOf(2), 'about.json'), about)
        writeFileSync(join(config.directory, 'removed.json'), removed)
        const next = await begin()
        const isFound = (await next.find('f', 'web'))?.containerId === idOf(1) && (await next.find('f', 'damaged')) === undefined
        clock.nowMs = Date.now() + 3 * hourMs // the time of a folder is the host's
        while (readdirSync(config.directory).join() !== 'removed.json') {
          await pause(1)
          clock.pass(1)
        }
        await next.stop()
        return isFound && JSON.parse(readFileSync(join(config.directory, 'removed.json'), 'utf8')).length > 0
      }),
      { numRuns: fuzzRuns(10) }
    )
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => parseKept(text, idOf(1)) === undefined),
      { numRuns: fuzzRuns(200) }
    )
  }
)

t.test('which have to go: the old ones, then the oldest until there is room', async (t) => {
  const row = (n: number, removedAtMs: number, bytes: number): KeptLog => ({
    ...{ containerId: idOf(n), frameworkId: 'f', taskId: `t${n}` },
    ...{ attempt: 1, removedAtMs, bytes }
  })
  const logs = [row(1, 0, 50), row(2, 50, 60), row(3, 90, 30), row(4, 500, 20)]
  const bounds = { keepMs: 100, maxBytes: 1_000, mostLogs: 10, nowMs: 100 }
  const gone = (more: Partial<typeof bounds>) =>
    overdue(logs, { ...bounds, ...more }).map(({ log, why }) => `${log.taskId} ${why}`)
  t.same(gone({}), ['t1 age'])
  t.same(gone({ nowMs: 0 }), [], 'a clock that was set back keeps them')
  t.same(gone({ maxBytes: 60 }), ['t1 age', 't2 room'])
  t.same(gone({ mostLogs: 1 }), ['t1 age', 't2 room', 't3 room'])
  t.same(gone({ maxBytes: 0 }), ['t1 age', 't2 room', 't3 room', 't4 room'])
})
