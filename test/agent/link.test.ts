import { join } from 'node:path'
import t from 'tap'
import { connectMaster } from '../../agent/link.ts'
import { Fault } from '../../base/fault.ts'

t.test('a dial that is called off before it begins is rejected with the reason', async (t) => {
  const why = new Fault('unavailable', 'the agent stops')
  const address = `unix:${join(t.testdir(), 'none.sock')}`
  const dial = connectMaster({ address, credentials: async () => undefined }, {}, () => undefined, AbortSignal.abort(why))
  await t.rejects(dial, why)
})
