import { join } from 'node:path'
import t from 'tap'
import { connectFault, endpointSettings, findEndpoint } from '../../sdk/endpoint.ts'

t.test('the flag wins over the environment, and that over the default', async (t) => {
  t.strictSame(findEndpoint(endpointSettings({}, undefined)), { kind: 'socket', path: '/var/lib/hearth/run/master.sock' })
  t.strictSame(findEndpoint(endpointSettings({ HEARTH_STATE_DIR: '/a' }, undefined)), {
    kind: 'socket',
    path: '/a/run/master.sock'
  })
  const both = endpointSettings({ HEARTH_STATE_DIR: '/a', HEARTH_ADDR: 'http://127.0.0.1:1' }, '/b')
  t.strictSame(findEndpoint(both), { kind: 'socket', path: '/b/run/master.sock' })
})

t.test('addresses are read in each of their forms', async (t) => {
  const at = (address: string) => findEndpoint(endpointSettings({ HEARTH_ADDR: address, HEARTH_TOKEN: 'x' }, undefined))
  t.strictSame(at('unix:/x/y'), { kind: 'socket', path: '/x/y' })
  for (const text of ['http://127.0.0.1:5050', '127.0.0.1:5050', 'http://127.0.0.1:5050/']) {
    t.strictSame(at(text), { kind: 'tcp', host: '127.0.0.1', port: 5050, token: 'x' }, text)
  }
  t.match(at('[::1]:80'), { host: '::1', port: 80 })
})

t.test('an address that is none is refused with the form that is wanted', async (t) => {
  for (const text of ['ftp://a:1', '127.0.0.1', 'a:b', 'a:99999', 'http://a:1/path']) {
    t.throws(
      () => findEndpoint(endpointSettings({ HEARTH_ADDR: text }, undefined)),
      { code: 'invalid', message: /must look like/ },
      text
    )
  }
})

t.test('the token comes from the variable, its file, or the state directory', async (t) => {
  const folder = t.testdir({ mine: 'one\n', token: 'two\n' })
  const from = (env: Record<string, string>) => findEndpoint(endpointSettings({ HEARTH_ADDR: 'a:1', ...env }, undefined))
  t.match(from({ HEARTH_TOKEN: 'zero', HEARTH_TOKEN_FILE: join(folder, 'mine') }), { token: 'zero' })
  t.match(from({ HEARTH_TOKEN_FILE: join(folder, 'mine') }), { token: 'one' })
  t.match(from({ HEARTH_STATE_DIR: folder }), { token: 'two' })
  t.throws(() => from({ HEARTH_TOKEN_FILE: join(folder, 'none') }), { code: 'denied', message: /ENOENT/ })
})

t.test('a connection that breaks off is not taken for a master that is not there', async (t) => {
  const fault = (errno: string) => connectFault({ kind: 'socket', path: '/x' }, Object.assign(new Error(errno), { code: errno }))
  for (const errno of ['EPIPE', 'ECONNRESET'])
    t.match(fault(errno), { code: 'unavailable', message: /broke off before the answer/ })
  t.match(fault('ECONNREFUSED'), { message: /^no master: \/x refuses/ })
})
