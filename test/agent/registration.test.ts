import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Registration } from '../../agent/registration.ts'
import { systemClock } from '../../base/clock.ts'
import { silentLog } from '../../base/log.ts'
import { systemRandom } from '../../base/random.ts'
import { completeMessage, type Init } from '../../proto/codec.ts'
import { FrameDecoder } from '../../proto/frame.ts'
import type { LedgerRecord, Messages } from '../../proto/gen/messages.ts'
import { newClusterId, newNodeId } from '../../proto/ids.ts'
import { decodeWire, encodeWire, type WireMessage, type WireName } from '../../proto/wire.ts'
import { until } from '../support/until.ts'

const clusterId = newClusterId()

type Parts = ConstructorParameters<typeof Registration>[0]

/** A master of that epoch which says only what the test has it say. */
async function masterOf(t: Test, epoch: number) {
  // The path of a socket has 107 bytes at most.
  const dir = mkdtempSync(join(tmpdir(), 'hr-'))
  const path = join(dir, 'agents.sock')
  const heard: WireMessage[] = []
  let socket: Socket | undefined
  const send = <K extends WireName>(kind: K, message: Init<Messages[K]>): void => void socket?.write(encodeWire(kind, message))
  const server = createServer((one) => {
    socket = one
    const decoder = new FrameDecoder()
    one.on('error', () => undefined)
    one.on('data', (chunk) => {
      for (const frame of decoder.push(chunk)) {
        const message = decodeWire(frame)
        heard.push(message)
        if (message.kind === 'Hello') send('Welcome', { protocol: 1, clusterId, nodeId: newNodeId(), epoch, heartbeatMs: 60_000 })
        if (message.kind === 'Register') send('Registered', { agentId: message.message.agentId, epoch })
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))
  t.teardown(() => {
    socket?.destroy()
    server.close()
    rmSync(dir, { recursive: true, force: true })
  })
  return { address: `unix:${path}`, heard, send }
}

async function agentOf(t: Test, address: string) {
  const acknowledged: number[] = []
  const asked: string[] = []
  const head = { ...completeMessage('LedgerHead', { agentId: newNodeId(), clusterId, epoch: 0 }) }
  const registration = new Registration(
    {
      ledger: {
        view: { head },
        append: async (record: Init<LedgerRecord>) => void Object.assign(head, record.head)
      },
      tasks: { running: 0, reports: () => [] },
      outbox: {
        connect: () => undefined,
        disconnect: () => undefined,
        acknowledged: async (number: number) => void acknowledged.push(number)
      },
      leases: { connect: () => undefined, disconnect: () => undefined, granted: async () => undefined },
      router: async ({ url }: { readonly url: string }) => {
        asked.push(url)
        return { status: 200, contentType: 'text/plain', body: [] }
      },
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
      health: () => ({ verdict: 'well', refusesLaunches: false, checks: [] }),
      onAuthority: () => undefined,
      onBroken: (e: unknown) => t.fail('it goes on', { e })
    } as unknown as Parts,
    {
      masters: [address],
      readToken: async () => 'token',
      readCredentials: async () => undefined,
      version: 'test',
      registration: { hostname: 'test' }
    }
  )
  await registration.start()
  t.teardown(() => registration.stop())
  await until(() => registration.registered)
  return { acknowledged, asked, head }
}

t.test('an acknowledgement of a leader that has been followed by another is void', async (t) => {
  const master = await masterOf(t, 5)
  const { acknowledged, head } = await agentOf(t, master.address)
  t.equal(head.epoch, 5)
  master.send('StatusAcknowledgement', { number: 1, epoch: 4 })
  master.send('StatusAcknowledgement', { number: 2, epoch: 5 })
  master.send('StatusAcknowledgement', { number: 3 })
  await until(() => acknowledged.length === 2)
  t.same(acknowledged, [2, 3], 'a master of the version before says no epoch')
})

t.test('nothing is read or run for a leader that has been followed by another', async (t) => {
  const master = await masterOf(t, 5)
  const { asked } = await agentOf(t, master.address)
  master.send('StreamOpen', { stream: 1, method: 'POST', path: '/v1/tasks/f/old/exec', epoch: 4 })
  master.send('StreamOpen', { stream: 2, method: 'GET', path: '/v1/tasks', epoch: 5 })
  const head = (stream: number) => master.heard.find((one) => one.kind === 'StreamHead' && one.message.stream === stream)?.message
  await until(() => head(1) !== undefined && head(2) !== undefined)
  t.match(head(1), { status: 421 })
  t.match(head(2), { status: 200 })
  t.same(asked, ['/v1/tasks'])
})
