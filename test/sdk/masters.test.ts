import t from 'tap'
import { OperatorClient } from '../../sdk/operator-client.ts'
import { serveOnSocket } from './http-fixture.ts'

const never = new AbortController().signal
const gone = { kind: 'socket', path: '/nonexistent/no.sock' } as const
const error = (code: string, message: string): string => JSON.stringify({ error: { code, message, detail: {} } })

t.test('where one master is not there the next one is asked, and asked first from then on', async (t) => {
  let asked = 0
  const endpoint = await serveOnSocket(t, (_request, response) => {
    asked += 1
    response.end(JSON.stringify({ version: '1' }))
  })
  const client = new OperatorClient([gone, endpoint])
  t.match(await client.version(never), { version: '1' })
  t.match(await client.version(never), { version: '1' })
  t.equal(asked, 2)
})

t.test('a change that a master does not take, because it does not lead, is asked again', async (t) => {
  let asked = 0
  const endpoint = await serveOnSocket(t, (request, response) => {
    request.resume()
    asked += 1
    response.statusCode = asked === 1 ? 421 : 200
    response.end(asked === 1 ? error('not-leader', 'ask again') : JSON.stringify({ from: 3 }))
  })
  t.match(await new OperatorClient(endpoint).raft.transfer(undefined, never), { from: 3 })
  t.equal(asked, 2)
})

t.test('a change that broke off is told and never repeated; a look is repeated', async (t) => {
  let asked = 0
  const endpoint = await serveOnSocket(t, (request, response) => {
    asked += 1
    if (asked === 1) request.socket.destroy()
    else response.end(JSON.stringify({ version: '1', from: 0 }))
  })
  const client = new OperatorClient(endpoint)
  await t.rejects(client.raft.transfer(2, never), { code: 'unavailable', message: /broke off/ })
  t.equal(asked, 1)
  asked = 0
  t.match(await client.version(never), { version: '1' })
  t.equal(asked, 2)
})

t.test('where no master is there at all nobody waits', async (t) => {
  const other = { kind: 'socket', path: '/nonexistent/other.sock' } as const
  await t.rejects(new OperatorClient([gone, other]).version(never), { code: 'unavailable', message: /is not there/ })
})
