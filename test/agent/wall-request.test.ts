import t from 'tap'
import { linuxCapabilitiesOf, wallsOf } from '../../agent/wall-request.ts'
import { defaultCapabilities } from '../../isolators/capabilities.ts'
import { completeMessage } from '../../proto/codec.ts'
import { linuxCapabilities } from '../../proto/linux-capabilities.ts'

const own = linuxCapabilities.filter((name) => name !== 'CAP_SYS_RESOURCE')
const caps = (addCapabilities: string[], dropCapabilities: string[]) =>
  linuxCapabilitiesOf({ addCapabilities, dropCapabilities }, own)

t.test('capabilities are added to and dropped from the small default set, and names win over ALL', async (t) => {
  t.same(new Set(caps([], []).capabilities), new Set(defaultCapabilities))
  t.same(caps(['CAP_NET_RAW'], ['ALL']), { capabilities: ['CAP_NET_RAW'], added: ['CAP_NET_RAW'] })
  t.notOk(caps(['ALL'], ['CAP_SYS_ADMIN']).capabilities.includes('CAP_SYS_ADMIN'))
  t.equal(caps(['ALL'], []).capabilities.length, own.length, 'never more than the agent holds')
  t.throws(() => caps(['CAP_SYS_RESOURCE'], []), { code: 'invalid', message: /does not hold CAP_SYS_RESOURCE itself/ })
  t.throws(() => caps(['CAP_NONE'], []), { message: /no Linux capability "CAP_NONE"/ })
})

const config = { allowedDevices: ['/dev/null', '/dev/net'], allowUnconfined: false }
const task = (more: object) => completeMessage('TaskDefinition', more)

t.test('a task without wishes gets the usual walls', async (t) => {
  t.match(wallsOf(config, task({}), 0), { seccomp: 'default', newPrivileges: false, ambientCapabilities: [] })
})

t.test('what is added is in force for a user who is not root', async (t) => {
  const asked = task({ walls: { addCapabilities: ['CAP_NET_RAW'] } })
  t.same(wallsOf(config, asked, 1000).ambientCapabilities, ['CAP_NET_RAW'])
  t.same(wallsOf(config, asked, 0).ambientCapabilities, [], 'root holds all of its set anyway')
})

t.test('a node gives only the devices that its operator named', async (t) => {
  const asked = (path: string) => wallsOf(config, task({ walls: { devices: [{ path }] } }), 0).devices
  t.same(asked('/dev/null'), [{ path: '/dev/null', target: '/dev/null', access: 'rw' }])
  t.throws(() => asked('/dev/zero'), {
    code: 'invalid',
    message: /lets tasks use only \/dev\/null, \/dev\/net; .*HEARTH_ALLOW_DEVICE=\/dev\/zero/
  })
  t.throws(() => asked('/dev/no-such'), { message: /has no device/ })
})

t.test('a task without seccomp needs the operator', async (t) => {
  t.throws(() => wallsOf(config, task({ seccomp: 'unconfined' }), 0), { code: 'invalid', message: /allows no unconfined tasks/ })
  t.match(wallsOf({ ...config, allowUnconfined: true }, task({ seccomp: 'unconfined' }), 0), { seccomp: 'unconfined' })
})
