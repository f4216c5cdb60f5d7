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
    const stop = new AttemptStop('a', {
      runtime: { kill, signal: async () => undefined },
      clock,
      log: silentLog,
      objects: { stopSignal: '' }
    })
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
    const stop = new AttemptStop('a', {
      runtime: { kill, signal: async () => undefined },
      clock,
      log: silentLog,
      objects: { stopSignal: '' }
    })
    stop.begin({ signal: '', graceMs: 0 })
  })
  await tried
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(kills, 1)
})

t.test('the image says by which signal it ends, unless somebody else does', async (t) => {
  const sent = async (signal: string, ofImage: string): Promise<number> => {
    const { clock } = quickClock()
    return new Promise((resolve) => {
      const runtime = { kill: async () => undefined, signal: async (_: string, number: number) => resolve(number) }
      new AttemptStop('a', { runtime, clock, log: silentLog, objects: { stopSignal: ofImage } }).begin({ signal, graceMs: 1 })
    })
  }
  t.equal(await sent('', ''), 15)
  t.equal(await sent('', 'SIGQUIT'), 3)
  t.equal(await sent('', 'int'), 2)
  t.equal(await sent('', '9'), 9)
  t.equal(await sent('', 'SIGRTMIN+3'), 37, 'as systemd wants it')
  t.equal(await sent('', 'nonsense'), 15)
  t.equal(await sent('SIGUSR1', 'SIGQUIT'), 10)
})
