import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { Arrivals } from '../../../master/identity/arrivals.ts'
import { until } from '../../support/until.ts'

/** Real connections on loopback; what is begun is collected. */
/** Time that the door is given to do something wrong in. */
function passed(ms: number): Promise<void> {
  const sinceMs = performance.now()
  return until(() => performance.now() > sinceMs + ms)
}

type Config = ConstructorParameters<typeof Arrivals>[1]

const defaults: Config = { perTurn: 8, atOnce: 100, slowMs: 60_000, underWayMost: 100, waitingMost: 100, patienceMs: 60_000 }

async function doorOf(t: Test, config: Partial<Config>) {
  const begun: Socket[] = []
  const turns: number[] = []
  let inTurn = 0
  const arrivals = new Arrivals(
    (socket) => {
      begun.push(socket)
      if (inTurn === 0) {
        setImmediate(() => {
          turns.push(inTurn)
          inTurn = 0
        })
      }
      inTurn += 1
    },
    { ...defaults, ...config }
  )
  const arrived: Socket[] = []
  const server = createServer({ pauseOnConnect: true }, (socket) => arrived.push(socket))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { readonly port: number }
  const clients: Socket[] = []
  t.teardown(() => {
    arrivals.destroyAll()
    for (const socket of [...clients, ...arrived]) socket.destroy()
    server.close()
  })
  /** All of them come in the same turn. */
  const come = async (count: number, says = true): Promise<readonly Socket[]> => {
    const before = arrived.length
    clients.push(...Array.from({ length: count }, () => connect(port, '127.0.0.1').on('error', () => undefined)))
    if (says) for (const client of clients.slice(-count)) client.write('hello')
    await until(() => arrived.length === before + count)
    const newcomers = arrived.slice(before)
    for (const socket of newcomers) arrivals.arrived(socket)
    return newcomers
  }
  return { arrivals, begun, turns, clients, come }
}

t.test('no more begin in a turn of the event loop than may, and all come to theirs', async (t) => {
  const { begun, turns, come } = await doorOf(t, { perTurn: 3 })
  await come(10)
  t.equal(begun.length, 0, 'none begins in the turn in which it comes')
  await until(() => begun.length === 10 && turns.length === 4)
  t.same(turns, [3, 3, 3, 1])
})

t.test('who waits comes in when another is done, or has gone', async (t) => {
  const { arrivals, begun, come } = await doorOf(t, { atOnce: 2 })
  const [first, second, third, fourth] = (await come(4)) as [Socket, Socket, Socket, Socket]
  await until(() => begun.length === 2)
  arrivals.greeted(first)
  await until(() => begun.length === 3)
  second.destroy()
  await until(() => begun.length === 4)
  t.same(begun, [first, second, third, fourth])
})

t.test('who left while it waited is not begun, and too many are closed', async (t) => {
  const { arrivals, begun, come } = await doorOf(t, { atOnce: 1, waitingMost: 2 })
  const [first] = (await come(1)) as [Socket]
  await until(() => begun.length === 1)
  const [second, third, fourth] = (await come(3)) as [Socket, Socket, Socket]
  t.same([second.destroyed, third.destroyed, fourth.destroyed], [false, false, true])
  second.destroy()
  await once(second, 'close')
  arrivals.greeted(first)
  await until(() => begun.length === 2)
  t.equal(begun[1], third)
})

t.test('who says nothing keeps nobody waiting, and is closed after a while', async (t) => {
  const { begun, come } = await doorOf(t, { atOnce: 1, patienceMs: 300 })
  const [silent] = (await come(1, false)) as [Socket]
  const [other] = (await come(1)) as [Socket]
  await until(() => begun.length === 1)
  t.equal(begun[0], other)
  await until(() => silent.destroyed)
})

t.test('who stops in the middle of a handshake keeps nobody waiting for longer than a moment', async (t) => {
  const { begun, come } = await doorOf(t, { atOnce: 1, underWayMost: 2, slowMs: 20 })
  const [first, second, third] = (await come(3)) as [Socket, Socket, Socket]
  await until(() => begun.length === 2)
  t.same(begun, [first, second])
  await passed(60)
  t.equal(begun.length, 2, 'no more than may be under way in all')
  first.destroy()
  await until(() => begun.length === 3)
  t.equal(begun[2], third)
})

t.test('who has waited for longer than a client does is let go', async (t) => {
  const { arrivals, begun, come } = await doorOf(t, { atOnce: 1, patienceMs: 50 })
  const [first, second] = (await come(2)) as [Socket, Socket]
  await until(() => begun.length === 1)
  await passed(100)
  arrivals.greeted(first)
  await until(() => second.destroyed)
  t.same(begun, [first])
})

t.test('a client that gives up while it waits is not begun', async (t) => {
  const { arrivals, begun, clients, come } = await doorOf(t, { atOnce: 1 })
  const [first, second, third] = (await come(3)) as [Socket, Socket, Socket]
  await until(() => begun.length === 1)
  clients[1]?.end()
  await until(() => second.destroyed)
  arrivals.greeted(first)
  await until(() => begun.length === 2)
  t.equal(begun[1], third)
})
