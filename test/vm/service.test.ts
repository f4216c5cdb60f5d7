import t from 'tap'
import { ended, listTasks, readFacts, scope, startCrowd, startTask, tasksAre, torn } from './crowd.ts'
import { installedMachine, nodeIsActive } from './installed.ts'
import { timeFactor } from './machine.ts'

/** Fifty on real machines; emulated launches take seconds each. */
const crowd = Number(process.env['HEARTH_VM_TASKS'] ?? 20)
const agentPid = 'systemctl show --property=MainPID --value hearth-agent'
const machine = await installedMachine(t)

t.test('the package brings up a node, on a host without Node', async (t) => {
  t.equal((await machine.run('command -v node')).code, 1)
  t.equal(await machine.tell('systemctl is-active hearth-agent hearth-master hearth-shutdown'), 'active\nactive\nactive')
  t.equal(await machine.tell('hearth task run --rm host -- echo hello'), 'hello')
  t.equal((await machine.run('hearth task run --rm --runtime crun host -- sh -c "exit 7"')).code, 7, 'crun too')
  t.equal(await machine.tell('stat -c "%A %U %G" /var/lib/hearth/run/agent.sock'), 'srw-rw---- root hearth')
  t.equal(await machine.tell('systemctl --failed --no-legend'), '')
})

t.test('the units are sound, and the master has few rights', async (t) => {
  t.notMatch(
    await machine.tell('systemd-analyze verify /lib/systemd/system/hearth-* 2>&1 | grep -v "Command .man" || true'),
    /hearth/
  )
  const rated = await machine.run(
    'systemd-analyze security --offline=true --threshold=30 --no-pager /lib/systemd/system/hearth-master.service'
  )
  t.equal(rated.code, 0, rated.stdout)
})

t.test('limits are in force on cgroup v2', async (t) => {
  await startTask(machine, {
    ...{ name: 'limited', milliCpu: 500, memoryBytes: 48 * 1024 * 1024 },
    arguments: ['sh', '-c', 'while :; do :; done']
  })
  await tasksAre(machine, 'running', 1)
  const [limited] = await readFacts(machine)
  t.same(limited?.limits, [String(48 * 1024 * 1024), '50000 100000', '4096'])
  const throttled = `grep -q '^nr_throttled [1-9]' ${scope}/${limited?.containerId}/cpu.stat`
  await machine.tell(`until ${throttled}; do sleep 0.1; done`)
  await machine.tell('hearth task kill --grace 0s limited')

  await startTask(machine, { name: 'hungry', memoryBytes: 32 * 1024 * 1024, arguments: ['tail', '/dev/zero'] })
  t.match(await ended(machine, 'hungry'), { state: 'failed', exitCode: 137, reason: /memory/ })
  await machine.tell('hearth task rm --force limited hungry')
  t.equal(await machine.tell(`ls -d ${scope}/????????????????????????????????/ 2>/dev/null || echo none`), 'none')
})

t.test('a mount of the agent is seen on the host and by the next agent', async (t) => {
  const place = '/var/lib/hearth/agent/seen'
  await machine.tell(`mkdir ${place}; nsenter --target $(${agentPid}) --mount mount -t tmpfs seen ${place}`)
  t.equal(await machine.tell(`findmnt --noheadings --output SOURCE ${place}`), 'seen', 'on the host')
  await machine.tell('systemctl restart hearth-agent')
  t.match(await machine.tell(`grep ${place} /proc/$(${agentPid})/mountinfo`), /tmpfs seen/, 'by the next agent')
  t.equal(await machine.tell(`readlink /proc/$(${agentPid})/ns/mnt`), await machine.tell('readlink /proc/1/ns/mnt'))
  await machine.tell(`umount ${place}; rmdir ${place}`)
})

t.test('the tasks stay, with their limits and every line they wrote', async (t) => {
  await nodeIsActive(machine)
  await startCrowd(machine, crowd)
  const before = await readFacts(machine)
  t.equal(before.length, crowd)
  t.equal(new Set(before.map((f) => f.limits.join())).size, crowd, 'each has limits of its own')

  /** The agent is another one, and nothing else has changed. */
  const survives = async (sentence: string, script: string, more: { readonly sameAgent?: boolean } = {}): Promise<void> => {
    await t.test(sentence, async (t) => {
      const agent = await machine.tell(agentPid)
      await machine.tell(script, 60)
      await nodeIsActive(machine)
      t.equal((await machine.tell(agentPid)) === agent, more.sameAgent === true)
      t.same(await readFacts(machine), before)
      t.equal((await listTasks(machine)).filter((task) => task.state === 'running').length, crowd)
    })
  }
  await survives('restart', 'systemctl restart hearth-agent')
  await survives('stop and start', 'hearth node stop; ! systemctl is-active hearth-agent; systemctl start hearth-agent')
  await survives('SIGKILL for all processes of the unit', 'systemctl kill --signal=KILL --kill-whom=all hearth-agent; sleep 1')
  await survives('daemon-reload', 'systemctl daemon-reload', { sameAgent: true })
  await survives('daemon-reexec', 'systemctl daemon-reexec', { sameAgent: true })
  const isNew = `[ "$(${agentPid})" != "$pid" ] && [ "$(${agentPid})" != 0 ]`
  await survives('a stalled event loop', `pid=$(${agentPid}); kill -STOP $pid; until ${isNew}; do sleep 0.5; done`)
  await survives('the package installed again', 'dpkg --install $(ls /payload/hearth_*.deb | grep -v _9.0.0_)')
  await survives('the next version', 'dpkg --install /payload/hearth_9.0.0_amd64.deb')
  t.match(await machine.tell('hearth version'), /9\.0\.0/)
  t.equal(await torn(machine), '', 'no log lacks or repeats a line')
})

t.test('the host goes down: the tasks end first, in time, and nothing fails', async (t) => {
  const asked = Number(await machine.tell('date +%s%6N; systemctl --no-block reboot'))
  await machine.booted(2)
  const last = `journalctl --boot=-1 --unit=hearth-containers.scope --output=json --output-fields=MESSAGE --no-pager | tail -1`
  const scopeEnd = JSON.parse(await machine.tell(last))
  t.match(scopeEnd.MESSAGE, /Deactivated successfully|Stopped/)
  const seconds = (Number(scopeEnd.__REALTIME_TIMESTAMP) - asked) / 1e6
  t.ok(seconds <= 10 * timeFactor, `the last container was gone after ${seconds.toFixed(1)} s`)
  t.comment(`from reboot to the last of ${crowd} containers gone: ${seconds.toFixed(1)} s (time factor ${timeFactor})`)
  const wrong = await machine.run(
    'journalctl --boot=-1 --no-pager --output=cat | grep -E "hearth.*(Failed with result|timed out|Killing process)"'
  )
  t.equal(wrong.stdout, '')
  await machine.tell('mount -o ro /dev/vdb /payload')
  await nodeIsActive(machine)
  t.equal(await machine.tell('systemctl --failed --no-legend'), '')
  t.same([...new Set((await listTasks(machine)).map((task) => task.state))], ['killed'], 'each end was written down')
  t.equal(await torn(machine), '')
})

t.test('a package removed with a task running leaves nothing', async (t) => {
  await startTask(machine, { name: 'left', arguments: ['sleep', '1000'] })
  await tasksAre(machine, 'running', 1)
  await machine.tell('dpkg --purge hearth', 60)
  t.equal(await machine.tell('pgrep --list-full "conmon|sleep 1000|runc" || true'), '')
  t.equal(await machine.tell('ls -d /var/lib/hearth /usr/lib/hearth /run/hearth* /etc/hearth 2>/dev/null || true'), '')
  t.equal(await machine.tell('systemctl list-units --all --no-legend "hearth*"'), '')
  t.equal(await machine.tell('ls -d /sys/fs/cgroup/hearth* 2>/dev/null || true'), '')
})
