import t from 'tap'
import { Garbage } from '../../agent/garbage.ts'
import { Fault } from '../../base/fault.ts'
import { silentLog } from '../../base/log.ts'

/** A clock whose sleeps end when the test says so. */
function heldClock() {
  const wakes: (() => void)[] = []
  return {
    tick: () => wakes.shift()?.(),
    waiting: () => wakes.length,
    clock: {
      monotonicMs: () => 0,
      wallMs: () => 0,
      sleep: (_ms: number, signal: AbortSignal) =>
        new Promise<void>((resolve, reject) => {
          wakes.push(resolve)
          signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
        })
    }
  }
}

t.test('each round collects what is not in use at that time, and a failed round is not the last', async (t) => {
  const held = heldClock()
  const rounds: string[][] = []
  const relieved: string[][] = []
  let used = new Set(['a'])
  let collected: () => void = () => undefined
  const images = {
    async collect(inUse: ReadonlySet<string>) {
      rounds.push([...inUse])
      collected()
      if (rounds.length === 1) throw new Fault('unavailable', 'the disk is away')
      return { layers: 1, bytes: 1 }
    },
    close: async () => undefined,
    async relieve(inUse: ReadonlySet<string>) {
      relieved.push([...inUse])
      return { images: [], layers: 0, bytes: 0 }
    }
  }
  const garbage = new Garbage({ images, inUse: () => used, clock: held.clock, log: silentLog }, { everyMs: 1 })
  await garbage.start()
  const round = () => new Promise<void>((resolve) => (collected = resolve))
  const first = round()
  held.tick()
  await first
  while (held.waiting() === 0) await Promise.resolve()
  used = new Set(['b'])
  const second = round()
  held.tick()
  await second
  await garbage.stop()
  t.same(rounds, [['a'], ['b']])
  t.same(relieved, [['b']], 'room is made after what is unused has gone')
})
