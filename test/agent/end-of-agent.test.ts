import t, { type Test } from 'tap'
import { EndOfAgent } from '../../agent/end-of-agent.ts'
import { Fault } from '../../base/fault.ts'
import { silentLog } from '../../base/log.ts'

const events = ['SIGTERM', 'SIGINT', 'unhandledRejection', 'uncaughtException'] as const

/** In a process that notes how it would have ended. */
function watched(t: Test): { readonly end: EndOfAgent; readonly codes: unknown[] } {
  const before = new Map(events.map((name) => [name, process.listeners(name as 'SIGTERM')]))
  const codes: unknown[] = []
  const { exit } = process
  process.exit = ((code: unknown) => void codes.push(code)) as typeof process.exit
  const end = new EndOfAgent(silentLog)
  t.teardown(() => {
    process.exit = exit
    for (const name of events) {
      for (const listener of process.listeners(name as 'SIGTERM')) {
        if (before.get(name)?.includes(listener) !== true) process.off(name, listener)
      }
    }
  })
  return { end, codes }
}

const closed = new Fault('unavailable', 'the ledger is closed')

t.test('what comes too late for the ledger of an agent that stops is left to the next agent', async (t) => {
  const { end, codes } = watched(t)
  process.emit('SIGTERM', 'SIGTERM')
  end.broken(closed)
  t.strictSame([codes, end.code], [[], 0])
})

t.test('an agent that stops still gives up for what is broken', async (t) => {
  const { end, codes } = watched(t)
  process.emit('SIGTERM', 'SIGTERM')
  end.broken(new Error('an invariant'))
  t.strictSame(codes, [1])
})

t.test('a ledger that is gone ends an agent that nobody asked to stop', async (t) => {
  const { end, codes } = watched(t)
  end.broken(closed)
  t.equal(codes.length, 1)
})
