import fc from 'fast-check'
import t from 'tap'
import type { Init } from '../../../proto/codec.ts'
import type { Messages } from '../../../proto/gen/messages.ts'
import { newNodeId } from '../../../proto/ids.ts'
import { encodeWire, type WireName } from '../../../proto/wire.ts'
import { anyMessage } from '../../support/any-message.ts'
import { fuzzRuns } from '../../support/fuzz-runs.ts'
import { ScriptedAgent } from '../../support/scripted-agent.ts'
import { startTestMaster } from '../../support/test-master.ts'

const said = fc
  .constantFrom<WireName>('Heartbeat', 'TaskStatus', 'LaunchAnswer', 'StreamHead', 'StreamData', 'StreamCredit', 'StreamEnd')
  .chain((kind) => anyMessage(kind).map((message) => encodeWire(kind, message as Init<Messages[typeof kind]>)))

/** What an agent may say of itself: an id of its own, and anything else. */
const register = anyMessage('Register')

t.test('nothing that a registered agent says in the right form brings the master down, or another agent', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  const witness = new ScriptedAgent(master.agents)
  t.teardown(() => witness.close())
  await witness.join(master.token)
  await fc.assert(
    fc.asyncProperty(fc.array(said, { minLength: 1, maxLength: 5 }), async (frames) => {
      const agent = new ScriptedAgent(master.agents)
      await agent.join(master.token)
      agent.raw(Buffer.concat(frames))
      agent.send('Goodbye', {})
      await agent.closed
    }),
    { numRuns: fuzzRuns(60) }
  )
  witness.send('Heartbeat', { sequence: 4_711 })
  while ((await witness.next('HeartbeatAnswer')).sequence !== 4_711) t.pass('an answer to an earlier one')
})

t.test('whatever an agent registers with, it comes in or hears why not', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  let refused = 0
  await fc.assert(
    fc.asyncProperty(register, async (facts) => {
      const agent = new ScriptedAgent(master.agents, newNodeId())
      agent.hello(master.token)
      await agent.next('Welcome')
      agent.register({ ...facts, agentId: agent.agentId })
      const answer = await Promise.race([
        agent.next('Registered').then(
          () => 'in',
          () => 'closed'
        ),
        agent.next('Refusal').then(
          ({ message }) => {
            refused += 1
            return message === '' ? 'without a word' : 'refused'
          },
          () => 'closed'
        )
      ])
      agent.close()
      await agent.closed
      return answer === 'in' || answer === 'refused'
    }),
    { numRuns: fuzzRuns(60) }
  )
  t.ok(refused > 0, `${refused} were refused`)
  const agent = new ScriptedAgent(master.agents)
  t.teardown(() => agent.close())
  await agent.join(master.token)
})
