import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { readCredentials, writeCredentials } from '../../../identity/credentials.ts'
import { placeText } from '../../../identity/places.ts'
import { certified, channel, placeOf, tokenOf } from '../../support/certified.ts'
import { eventually } from '../../support/cluster.ts'
import { eagerRenewal } from '../../support/eager-renewal.ts'
import { ScriptedAgent } from '../../support/scripted-agent.ts'
import { startTestMaster } from '../../support/test-master.ts'

t.test(
  'one authority follows another while nodes stay connected to the cluster, and the old one opens nothing in the end',
  async (t) => {
    const master = await startTestMaster({}, undefined, {}, { host: '127.0.0.1', port: 0, lookEveryMs: 20 })
    t.teardown(() => master.stop())
    const stateDir = mkdtempSync(join(tmpdir(), 'hearth-rotation-'))
    t.teardown(() => rmSync(stateDir, { recursive: true, force: true }))
    const before = await certified(master)
    const sleeper = await certified(master)
    await writeCredentials(stateDir, before)
    const masters = [`tls:${placeText(placeOf(master))}`]
    const renewal = eagerRenewal(stateDir, masters)
    await renewal.start()
    t.teardown(() => renewal.stop())
    const welcomed = async (): Promise<string> => {
      const own = await readCredentials(stateDir)
      if (own === undefined) throw new Error('the certificate is gone')
      const agent = new ScriptedAgent(await channel(master, own), own.name.nodeId)
      agent.hello('')
      const { authority } = await agent.next('Welcome')
      agent.close()
      return authority
    }
    const old = await welcomed()
    const connected = new ScriptedAgent(await channel(master, before), before.name.nodeId)
    await connected.join('')
    const { status, body } = await master.call('POST', '/v1/authorities')
    t.equal(status, 201)
    await connected.closed
    t.match((await master.call('POST', '/v1/authorities')).body, { error: { code: 'conflict' } }, 'one after the other')
    const digest: string = body.digest
    t.not(digest, old)
    t.equal(await welcomed(), digest, 'with the certificate of the old one')
    t.match((await master.call('DELETE', `/v1/authorities/${old}`)).body, {
      error: { message: /nodes have certificates of it still/ }
    })
    renewal.noticed(digest)
    const nodes = async (): Promise<readonly { readonly nodeId: string; readonly authority: string }[]> =>
      (await master.call('GET', '/v1/identity')).body.nodes
    await eventually(async () => (await nodes()).find((n) => n.nodeId === before.name.nodeId && n.authority === digest))
    t.match(
      (await master.call('DELETE', `/v1/authorities/${old}`)).body,
      { error: { message: /host-of-the-test/ } },
      'one sleeps still'
    )
    t.equal((await master.call('DELETE', `/v1/nodes/${sleeper.name.nodeId}`)).status, 204)
    await eventually(async () => ((await nodes()).every((n) => n.authority === digest) ? true : undefined))
    t.equal((await master.call('DELETE', `/v1/authorities/${old}`)).status, 204)
    await eventually(() =>
      channel(master, sleeper).then(
        () => undefined,
        (e: unknown) => e
      )
    )
    t.equal(await welcomed(), digest)
    t.ok((await certified(master, (await tokenOf(master)).token)).authorities.split('BEGIN').length === 2, 'one is trusted now')
  }
)
