import t from 'tap'
import { parseProbes, parseRestart } from '../../cli/attempt-options.ts'

t.test('a restart policy counts restarts as docker does, and attempts for the node', async (t) => {
  t.equal(parseRestart({}), undefined)
  t.strictSame(parseRestart({ restart: 'no' }), { policy: 'never' })
  t.strictSame(parseRestart({ restart: 'on-failure' }), { policy: 'on-failure' })
  t.strictSame(parseRestart({ restart: 'on-failure:3', restartDelay: '2s' }), {
    policy: 'on-failure',
    maxAttempts: 4,
    backoffMs: 2_000
  })
  for (const restart of ['always:3', 'sometimes', 'on-failure:x', 'on-failure:-1', ''])
    t.throws(() => parseRestart({ restart }), { code: 'invalid', message: /--restart must be never, on-failure/ })
  for (const restart of ['never', undefined])
    t.throws(() => parseRestart({ ...(restart && { restart }), restartDelay: '1s' }), {
      message: /--restart-delay needs --restart/
    })
})

t.test('each kind of probe is asked for by itself, and the times are for all', async (t) => {
  t.equal(parseProbes({}), undefined)
  t.strictSame(parseProbes({ startTcp: '8080' }), { startup: { tcp: { port: 8080 } } })
  const probes = parseProbes({
    startCmd: 'test -f /up',
    startRetries: '60',
    healthHttp: '8080/health',
    readyTcp: '8080',
    healthInterval: '1s',
    healthTimeout: '500ms',
    healthRetries: '2',
    healthStartPeriod: '5s'
  })
  const times = { intervalMs: 1_000, timeoutMs: 500, graceMs: 5_000 }
  t.strictSame(probes, {
    startup: { command: ['sh', '-c', 'test -f /up'], ...times, failures: 60 },
    liveness: { http: { port: 8080, path: '/health' }, ...times, failures: 2 },
    readiness: { tcp: { port: 8080 }, ...times, failures: 2 }
  })
})

t.test('what is about no check, or about two at once, is refused with what to do', async (t) => {
  const refused = (options: Parameters<typeof parseProbes>[0], message: RegExp): void => {
    t.throws(() => parseProbes(options), { code: 'invalid', message })
  }
  refused({ healthInterval: '1s' }, /no check that this is about; add --health-cmd/)
  refused({ healthTcp: '80', healthRetries: '0' }, /--health-retries must be from 1 to 1000, not 0/)
  refused({ startTcp: '80', startRetries: '1001' }, /--start-retries must be from 1 to 1000, not 1001/)
  refused({ healthTcp: '80', startRetries: '3' }, /--start-retries is about; add --start-cmd/)
  refused({ startTcp: '80', startCmd: 'true' }, /of --start-cmd, --start-http and --start-tcp only one/)
  refused({ startCmd: ' ' }, /--start-cmd must be a shell command/)
  refused({ startHttp: '/health' }, /--start-http must be a port of the host such as 8080\/health/)
  refused({ startTcp: '0', startRetries: '3' }, /--start-tcp must be a port/)
})
