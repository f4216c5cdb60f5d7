import t from 'tap'
import { readMasterConfig } from '../../master/config.ts'

t.test('flag over environment over default', async (t) => {
  t.match(readMasterConfig([], {}), {
    stateDir: '/var/lib/hearth',
    http: { host: '127.0.0.1', port: 7340 },
    agentListen: undefined,
    logLevel: 'info'
  })
  const env = { HEARTH_STATE_DIR: '/env', HEARTH_HTTP: '[::1]:0' }
  t.match(readMasterConfig([], env), { stateDir: '/env', runDir: '/env/run', http: { host: '::1', port: 0 } })
  t.match(readMasterConfig(['--state-dir', '/flag', '--http=off'], env), { stateDir: '/flag', http: undefined })
  t.match(readMasterConfig(['--agent-listen', 'tcp:127.0.0.1:9'], {}), { agentListen: { host: '127.0.0.1', port: 9 } })
})

t.test('masters reach each other over TLS, in clear only on loopback, and never at an address that means all', async (t) => {
  const peers = (text: string) => readMasterConfig(['--peer-listen', text], {}).peerListen
  t.same(peers('tls:m1.example:7342'), { host: 'm1.example', port: 7342, isSecure: true })
  t.same(peers('tcp:[::1]:7342'), { host: '::1', port: 7342, isSecure: false })
  for (const text of ['tcp:192.0.2.1:7342', 'tls:0.0.0.0:7342', 'tls:[::]:7342', '127.0.0.1:7342']) {
    t.throws(() => peers(text), { code: 'invalid', message: /must be tls:HOST:PORT/ }, text)
  }
  t.throws(() => readMasterConfig(['--join', 'm1.example'], {}), { code: 'invalid', message: /go together/ })
})

t.test('all mistakes are told at once', async (t) => {
  const argv = ['--state-dir', 'here', '--http', '0.0.0.0:80', '--agent-listen', 'udp:1', '--log-level', 'loud']
  t.throws(() => readMasterConfig(argv, {}), { code: 'invalid', message: /state-dir.*http.*agent-listen.*log-level/ })
  t.throws(() => readMasterConfig(['--nope'], {}), { code: 'invalid', message: /--nope.*the master knows --state-dir/ })
  t.throws(() => readMasterConfig([], { HEARTH_HTTP: '127.0.0.1:99999' }), { code: 'invalid' })
})
