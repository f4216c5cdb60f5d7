import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Cluster, eventually } from '../support/cluster.ts'

interface Node {
  readonly nodeId: string
  readonly condition: string
  readonly connected: boolean
}

function place(test: Test): Cluster {
  const cluster = new Cluster(mkdtempSync(join(tmpdir(), 'hearth-join-')))
  test.teardown(async () => {
    const down = await cluster.hearth(['down', '--purge'])
    if (down.code !== 0) throw new Error(`hearth down: ${down.stderr}`)
    rmSync(cluster.stateDir, { recursive: true, force: true })
  })
  return cluster
}

t.test('another host joins with one command, runs tasks over TLS, and is put out', async (t) => {
  const master = place(t)
  const host = place(t)
  const init = await master.hearth(['cluster', 'init', '--listen', '127.0.0.1:0', '--http', 'off'])
  t.equal(init.code, 0, init.stderr)
  t.match(init.stdout, /the master is up[\s\S]*cluster: .*[0-9a-f]{32}[\s\S]*authority: .*sha256 [0-9a-f]{64}/)
  const address = readFileSync(join(master.stateDir, 'run/listen'), 'utf8').trim()
  const token = async (): Promise<string> => (await master.hearth(['cluster', 'token', 'create'])).stdout.trim()
  const nodes = (): Promise<readonly Node[]> => master.json<readonly Node[]>(['node', 'list'])

  const first = await token()
  const joined = await host.hearth(['agent', 'join', address, '--token', first])
  t.equal(joined.code, 0, `${joined.stderr}${host.log('agent').slice(-2_000)}`)
  t.match(joined.stdout, /this host has joined: node [0-9a-f]{32} of cluster/)
  const ran = await master.hearth(['task', 'run', '--rm', 'host', '--', 'echo', 'over there'])
  t.match(ran, { code: 0, stdout: 'over there\n' })
  t.equal(statSync(join(host.stateDir, 'identity/node.pem')).mode & 0o777, 0o600)
  t.equal(statSync(join(master.stateDir, 'cluster-key')).mode & 0o777, 0o600)
  for (const name of readdirSync(join(master.stateDir, 'master/wal'))) {
    t.notMatch(readFileSync(join(master.stateDir, 'master/wal', name)).toString('latin1'), /PRIVATE KEY/, name)
  }

  const again = await host.hearth(['agent', 'join', address, '--token', first])
  t.match(again, { code: 0, stdout: /has joined before; its certificate was renewed/ }, 'repeatable, without another token')
  const [{ nodeId } = { nodeId: '' }] = await nodes()
  t.match(await master.hearth(['node', 'remove', nodeId]), { code: 73, stderr: /is connected/ })
  t.match(await master.hearth(['node', 'remove', nodeId, '--force']), { code: 0 })
  await eventually(() => (host.log('agent').includes('its certificate is void') ? true : undefined))
  t.match(await nodes(), [{ nodeId, condition: 'agent_gone', connected: false }])

  const used = await host.hearth(['agent', 'join', address, '--token', first])
  t.match(used, { code: 77, stderr: /the token is unknown, revoked, expired or used up/ })
  const anew = await host.hearth(['agent', 'join', address, '--token', await token()])
  t.match(anew, { code: 0 }, anew.stderr)
  const living = (await nodes()).filter((n) => n.connected)
  t.equal(living.length, 1)
  t.not(living[0]?.nodeId, nodeId, 'under a new id')
})
