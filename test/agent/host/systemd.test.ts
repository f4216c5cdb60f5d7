import t from 'tap'
import { detectUnit, wrongSettings } from '../../../agent/host/systemd.ts'
import { scopeName, scopePath } from '../../../agent/host/workload-scope.ts'

const env = { INVOCATION_ID: 'f00', SYSTEMD_EXEC_PID: '42', NOTIFY_SOCKET: '/run/systemd/notify', WATCHDOG_USEC: '30000000' }
const cgroup = '0::/system.slice/hearth-agent.service\n'

t.test('the main process of a service knows its unit, its cgroup and how often to speak', async (t) => {
  const unit = { name: 'hearth-agent.service', cgroup: '/system.slice/hearth-agent.service', notify: true, beatMs: 15_000 }
  t.same(detectUnit(env, 42, cgroup), unit)
  t.same(detectUnit(env, 42, '0::/system.slice/hearth-agent.service/agent\n'), unit, 'also from its own leaf')
  t.same(detectUnit({ ...env, WATCHDOG_PID: '42' }, 42, cgroup), unit)
})

t.test('a descendant of a service, a shell and a process of a session are under no unit of their own', async (t) => {
  t.equal(detectUnit(env, 43, cgroup), undefined)
  t.equal(detectUnit({}, 42, cgroup), undefined)
  t.equal(detectUnit(env, 42, '0::/user.slice/user-0.slice/session-1.scope\n'), undefined)
})

t.test('without watchdog, or with one of another process, nothing beats', async (t) => {
  t.equal(detectUnit({ ...env, WATCHDOG_USEC: undefined }, 42, cgroup)?.beatMs, 0)
  t.equal(detectUnit({ ...env, WATCHDOG_PID: '7' }, 42, cgroup)?.beatMs, 0)
  t.equal(detectUnit({ ...env, WATCHDOG_USEC: 'soon' }, 42, cgroup)?.beatMs, 0)
})

t.test('each wrong setting of the unit is named with what it must be', async (t) => {
  const unit = { name: 'a.service', cgroup: '/a.service', notify: true, beatMs: 0 }
  const good = 'Delegate=yes\nKillMode=process\nNotifyAccess=all\nRestart=always\n'
  t.same(wrongSettings(unit, good, false), [])
  const bad = wrongSettings(unit, 'Delegate=no\nKillMode=control-group\nNotifyAccess=none\nRestart=no\n', true)
  t.equal(bad.length, 5)
  t.match(bad[0], /^Delegate=no in a.service must be Delegate=yes/)
  t.match(bad[1], /KillMode=process/)
  t.match(bad[4], /mount namespace/)
})

t.test('the scope lies in our slice below the root that systemd has', async (t) => {
  const slice = '/hearth.slice/hearth-workloads.slice'
  t.equal(scopePath('s.scope', '0::/init.scope\n'), `${slice}/s.scope`)
  t.equal(scopePath('s.scope', '0::/machine.slice/x/init.scope\n'), `/machine.slice/x${slice}/s.scope`)
  t.equal(scopePath('s.scope', '1:cpu:/\n0::/\n'), `${slice}/s.scope`)
  t.equal(scopeName('/var/lib/hearth'), 'hearth-containers.scope')
  t.match(scopeName('/srv/hearth'), /^hearth-containers-[0-9a-f]{8}\.scope$/)
})
