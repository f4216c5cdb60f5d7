import t from 'tap'
import { AttemptStop } from '../../agent/attempt-stop.ts'
import { silentLog } from '../../base/log.ts'

/** Never sleeps; notes for how long it was asked to. */
function quickClock() {
  const sleptMs: number[] = []
  const sleep = async (ms: number, signal: AbortSignal): Promise<void> => {
    signal.throwIfAborted()
    sleptMs.push(ms)
  }
  return { sleptMs, clock: { sleep, monotonicMs: () => 0, wallMs: () => 0 } }
}

t.test('a container whose kill fails is killed again until it goes', async (t) => {
  const { clock, sleptMs } = quickClock()
  let failuresLeft = 9
  const killed = new Promise<void>((resolve) => {
    const kill = async (): Promise<void> => {
      failuresLeft -= 1
      if (failuresLeft >= 0) throw new Error('EIO')
      resolve()
    }
    const stop = new AttemptStop('a', { runtime: { kill, signal: async () => undefined }, clock, log: silentLog })
    stop.begin({ signal: '', graceMs: 0 })
  })
  await killed
  t.strictSame(sleptMs, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000])
})

t.test('once the container has ended nobody tries to kill it any more', async (t) => {
  const { clock } = quickClock()
  let kills = 0
  const tried = new Promise<void>((resolve) => {
    const kill = async (): Promise<void> => {
      kills += 1
      stop.over()
      resolve()
      throw new Error('EIO')
    }
    const stop = new AttemptStop('a', { runtime: { kill, signal: async () => undefined }, clock, log: silentLog })
    stop.begin({ signal: '', graceMs: 0 })
  })
  await tried
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(kills, 1)
})
