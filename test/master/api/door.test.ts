import { readFile, stat } from 'node:fs/promises'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { join } from 'node:path'
import t from 'tap'
import { admitLoopback, digest } from '../../../master/api/door.ts'
import { operatorToken, startTestMaster } from '../../support/test-master.ts'

const wanted = digest('secret')
const good = { host: '127.0.0.1:7340', authorization: 'Bearer secret' }

t.test('loopback asks for the token, an own host name and no foreign origin', async (t) => {
  const table: readonly [string, Record<string, string>, RegExp | undefined][] = [
    ['the right token', good, undefined],
    ['over IPv6', { ...good, host: '[::1]:7340' }, undefined],
    ['by name', { ...good, host: 'LOCALHOST:7340' }, undefined],
    ['without a port', { ...good, host: '127.0.0.1' }, undefined],
    ['from a page of its own', { ...good, origin: 'http://127.0.0.1:7340' }, undefined],
    ['without a token', { host: good.host }, /send the token/],
    ['with a wrong token', { ...good, authorization: 'Bearer secreT' }, /token is wrong/],
    ['with a longer token', { ...good, authorization: 'Bearer secret2' }, /token is wrong/],
    ['with a basic one', { ...good, authorization: 'Basic secret' }, /send the token/],
    ['with a rebound name', { ...good, host: 'evil.example:7340' }, /Host/],
    ['with a name that only begins well', { ...good, host: '127.0.0.1.evil.example' }, /Host/],
    ['without a host', { authorization: good.authorization }, /Host/],
    ['from a foreign page', { ...good, origin: 'https://evil.example' }, /are refused/],
    ['from another port', { ...good, origin: 'http://127.0.0.1:8080' }, /are refused/],
    ['from nowhere', { ...good, origin: 'null' }, /are refused/]
  ]
  for (const [name, headers, complaint] of table) {
    if (complaint === undefined) t.doesNotThrow(() => admitLoopback(headers, wanted), name)
    else t.throws(() => admitLoopback(headers, wanted), { code: 'denied', message: complaint }, name)
  }
})

t.test('every route on loopback is closed without the token, the unix socket is open to its group', async (t) => {
  const master = await startTestMaster()
  t.teardown(() => master.stop())
  const base = new URL((await readFile(join(master.dir, 'http'), 'utf8')).trim())
  const ask = (method: string, path: string, headers: Record<string, string>): Promise<number> =>
    new Promise((resolve, reject) => {
      const request = httpRequest(
        { host: base.hostname, port: base.port, method, path, headers, agent: false },
        (r: IncomingMessage) => {
          r.resume()
          resolve(r.statusCode ?? 0)
        }
      )
      request.on('error', reject)
      request.end()
    })
  const routes = [
    ['GET', '/v1/version'],
    ['GET', '/v1/openapi.json'],
    ['GET', '/v1/events'],
    ['POST', '/v1/tasks'],
    ['POST', '/v1/tasks/x/exec'],
    ['DELETE', '/v1/tasks/x'],
    ['GET', '/v1/nothing']
  ] as const
  for (const [method, path] of routes) t.equal(await ask(method, path, {}), 403, `${method} ${path}`)
  const authorization = `Bearer ${operatorToken}`
  t.equal(await ask('GET', '/v1/version', { authorization }), 200)
  t.equal(await ask('GET', '/v1/version', { authorization, origin: 'http://evil.example' }), 403)
  t.equal((await master.call('GET', '/v1/version')).status, 200)
  t.equal((await stat(master.socket)).mode & 0o777, 0o660)
  t.equal((await stat(master.agents)).mode & 0o777, 0o600)
})
