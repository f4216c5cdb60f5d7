import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { within } from '../../base/clock.ts'
import { until } from '../support/until.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

t.test('a time limit outlives every collection of garbage', async (t) => {
  let heard = 0
  const hear = (signal: AbortSignal): void => signal.addEventListener('abort', () => (heard += 1), { once: true })
  const caller = new AbortController()
  const kept = within(50, caller.signal)
  hear(within(50, caller.signal)) // nobody holds it but its listener
  await until(() => {
    collectGarbage()
    return kept.aborted && heard === 1
  })
  t.match(kept.reason, { name: 'TimeoutError' })
})

t.test('the signal aborts first, with its reason', async (t) => {
  const caller = new AbortController()
  const limit = within(60_000, caller.signal)
  caller.abort('enough')
  t.equal(limit.reason, 'enough')
})
