import { stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { ensureIdentity, ensureToken, hearthGroup } from '../../master/identity.ts'

t.test('identity and tokens are made once and kept', async (t) => {
  const dir = t.testdir()
  const identity = await ensureIdentity(dir)
  t.match(identity, { clusterId: /^[0-9a-f]{32}$/, nodeId: /^[0-9a-f]{32}$/ })
  t.same(await ensureIdentity(dir), identity)
  const path = join(dir, 'token')
  const token = await ensureToken(path)
  t.equal(await ensureToken(path), token)
  t.equal((await stat(path)).mode & 0o777, 0o600)
  t.ok(token.length >= 43, 'of 256 bits')
})

t.test('a damaged identity is not replaced in silence', async (t) => {
  const dir = t.testdir({ 'identity.json': '{"clusterId": "x"}' })
  await t.rejects(ensureIdentity(dir), { code: 'corrupt', message: /identity.json is damaged/ })
})

t.test('the group hearth is used where the host has it', async (t) => {
  const dir = t.testdir()
  const file = join(dir, 'group')
  t.equal(await hearthGroup(file), undefined)
  await writeFile(file, 'root:x:0:\nhearth:x:987:ann,bob\n')
  t.equal(await hearthGroup(file), 987)
})
