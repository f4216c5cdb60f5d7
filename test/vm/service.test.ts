import t from 'tap'
import type { NodeHealthAnswer } from '../../sdk/operator-messages.ts'
import { readFacts, scope, startCrowd, torn } from './crowd.ts'
import { installedMachine } from './installed.ts'
import { timeFactor } from './machine.ts'
import { ended, listTasks, nodeIsActive, startTask, tasksAre } from './operator.ts'

/** Emulated launches take seconds each: `npm run test:vm -- --long` has fifty. */
const crowd = Number(process.env['HEARTH_VM_TASKS'] ?? 12)
const staying = 2
const books = '/var/lib/hearth/agent/upgrade'
const agentPid = 'systemctl show --property=MainPID --value hearth-agent'

/** From within the unit, as systemd wants it: the stalled agent is given a second, not what the machine's slowness allows. */
const impatience = `(
  echo $BASHPID > /sys/fs/cgroup/system.slice/hearth-agent.service/agent/cgroup.procs
  NOTIFY_SOCKET=/run/systemd/notify exec systemd-notify WATCHDOG_USEC=1000000
)`

/** What an upgrade leaves behind, with an agent that does nothing. */
const brokenVersion = `
cd /usr/lib/hearth/versions
cp -al 9.0.0 9.9.9
rm 9.9.9/agent.cjs 9.9.9/start-agent.cjs
echo 'setInterval(() => undefined, 1000)' > 9.9.9/agent.cjs
ln -sfn versions/9.9.9 ../current
mkdir -p /run/systemd/system/hearth-agent.service.d
printf '[Service]\\nEnvironment=HEARTH_UPGRADE_DEADLINE_S=5\\n' > /run/systemd/system/hearth-agent.service.d/soon.conf
systemctl daemon-reload
systemctl --no-block restart hearth-agent
until [ -e ${books}/verdict ] && grep -q '9.9.9 rejected' ${books}/verdict; do sleep 0.2; done
rm -r /run/systemd/system/hearth-agent.service.d
systemctl daemon-reload
`

/** Tells where it runs and within which limits, and leaves a daemon behind. */
const ownCheck = `mkdir -p /etc/hearth/checks.d
cat > /etc/hearth/checks.d/mine <<'END'
#!/bin/sh
setsid sleep 98765 > /dev/null 2>&1 &
place=$(cut -d: -f3 /proc/self/cgroup)
echo "$place $(cat /sys/fs/cgroup$place/memory.max) $(cat /sys/fs/cgroup$place/pids.max)"
END
chmod 755 /etc/hearth/checks.d/mine`

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

t.test('an own check runs within limits below the unit, and what it started goes with it', async (t) => {
  await machine.tell(ownCheck)
  const health = JSON.parse((await machine.run('hearth node health --json')).stdout) as NodeHealthAnswer
  const { verdict, reason = '' } = health.checks.find((check) => check.subject === 'mine') ?? {}
  t.equal(verdict, 'OK', reason)
  const [place = '', memory, processes] = reason.split(' ')
  t.match(place, /^\/system\.slice\/hearth-agent\.service\/./)
  t.same([memory, processes], [String(256 * 1024 * 1024), '128'])
  t.equal((await machine.run(`test -e /sys/fs/cgroup${place}`)).code, 1, 'its cgroup is gone')
  t.equal((await machine.run('pgrep -f "sleep 9876[5]"')).code, 1, 'and its daemon with it')
  await machine.tell('rm -r /etc/hearth/checks.d')
})

t.test('the agent gives signs of life', async () => {
  const at = (property: string): string => `$(systemctl show --property=${property}TimestampMonotonic --value hearth-agent)`
  await machine.tell(`until [ ${at('Watchdog')} -gt $((${at('ActiveEnter')} + 2000000)) ]; do sleep 0.2; done`)
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
  await startCrowd(machine, crowd, staying)
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
  const stopped = 'hearth node stop && ! systemctl --quiet is-active hearth-agent'
  await survives('stop and start', `${stopped} && systemctl start hearth-agent`)
  const another = `until [ "$(${agentPid})" != "$pid" ] && [ "$(${agentPid})" != 0 ]; do sleep 0.2; done`
  const kill = 'systemctl kill --signal=KILL'
  await survives('SIGKILL for the agent', `pid=$(${agentPid}); ${kill} --kill-whom=main hearth-agent; ${another}`)
  await survives('SIGKILL for all processes of the unit', `pid=$(${agentPid}); ${kill} --kill-whom=all hearth-agent; ${another}`)
  await survives('daemon-reload', 'systemctl daemon-reload', { sameAgent: true })
  await survives('daemon-reexec', 'systemctl daemon-reexec', { sameAgent: true })
  await survives('a stalled event loop', `pid=$(${agentPid}); kill -STOP $pid; ${impatience}; ${another}`)
  t.match(await machine.tell('journalctl --unit=hearth-agent --output=cat'), /Watchdog timeout/)
  await survives('the next version', 'dpkg --install /payload/hearth_9.0.0_amd64.deb')
  t.match(
    await machine.tell(`until grep -q '^9.0.0 ' ${books}/verdict; do sleep 0.5; done; cat ${books}/verdict`, 60),
    /confirmed/
  )
  await survives('a version that never gets ready', brokenVersion)
  t.match(await machine.tell(`cat ${books}/verdict`), /^9\.9\.9 rejected not confirmed within/)
  t.match(await machine.tell(`tr '\\0' ' ' < /proc/$(${agentPid})/cmdline`), /versions\/9\.0\.0\//, 'the version before runs')
  await machine.tell('ln -sfn versions/9.0.0 /usr/lib/hearth/current; rm -r /usr/lib/hearth/versions/9.9.9')
  t.equal(await torn(machine), '', 'no log lacks or repeats a line')
})

t.test('the host goes down: the tasks end first, in time, and nothing fails', async (t) => {
  await machine.tell('systemctl disable --quiet hearth-master')
  // The answer to a command that brings the machine down might go down with it.
  await machine.tell("systemd-run --quiet sh -c 'sleep 1; date +%s%6N > /var/asked; systemctl --no-block reboot'")
  await machine.booted(2)
  const asked = Number(await machine.tell('cat /var/asked'))
  const said = "journalctl --boot=-1 --unit=hearth-shutdown --grep='its tasks have ended' --output=json --no-pager | tail -1"
  const tasksEnded = JSON.parse(await machine.tell(said))
  const seconds = (Number(tasksEnded.__REALTIME_TIMESTAMP) - asked) / 1e6
  t.ok(seconds > 0 && seconds <= 10 * timeFactor, `the last container was gone after ${seconds.toFixed(1)} s`)
  t.comment(`from reboot to the last of ${crowd} containers gone: ${seconds.toFixed(1)} s (time factor ${timeFactor})`)
  const since = `journalctl --boot=-1 --since=@${Math.floor(asked / 1e6)} --no-pager --output=cat`
  const wrong = await machine.run(`${since} | grep -E "(Failed with result|timed out|Killing process)"`)
  t.equal(wrong.stdout, '')
})

t.test('a cold start without a master: what its policy keeps alive runs again', async (t) => {
  await machine.tell('until systemctl --quiet is-active hearth-agent; do sleep 0.2; done', 60)
  await machine.tell(
    `until [ "$(ls -d ${scope}/????????????????????????????????/ | wc -l)" = ${staying} ]; do sleep 0.2; done`,
    60
  )
  t.equal(await machine.tell('systemctl is-active hearth-master || true'), 'inactive')
  t.equal(await machine.tell('systemctl --failed --no-legend'), '')
  await machine.tell('systemctl enable --quiet --now hearth-master')
  await nodeIsActive(machine)
  await tasksAre(machine, 'running', staying)
  for (const { name, state, attempt, reason, message } of await listTasks(machine)) {
    const comesBack = Number(name.replace('crowd-', '')) < staying
    const wanted = { name, state: comesBack ? 'running' : 'killed', attempt: comesBack ? 2 : 1 }
    t.same({ name, state, attempt }, wanted, `${name}: ${reason} ${message}`)
  }
  t.equal(await torn(machine), '')
})

t.test('a node that is stopped with its tasks', async (t) => {
  t.match(await machine.tell('hearth node stop --workloads', 60), /hearth-agent\.service is stopped; its tasks have ended/)
  t.equal(await machine.tell('systemctl is-active hearth-agent || true'), 'inactive')
  await machine.tell('until ! systemctl --quiet is-active hearth-containers.scope; do sleep 0.2; done', 3)
  t.equal(await machine.tell('pgrep --list-full "conmon|runc" || true'), '')
  await machine.tell('systemctl start hearth-agent', 60)
  await nodeIsActive(machine)
  await tasksAre(machine, 'running', staying)
})

t.test('a package removed with tasks running leaves nothing', async (t) => {
  await machine.tell('dpkg --purge hearth', 60)
  t.equal(await machine.tell('pgrep --list-full "conmon|read -t|runc" || true'), '')
  t.equal(await machine.tell('ls -d /var/lib/hearth /usr/lib/hearth /run/hearth* /etc/hearth 2>/dev/null || true'), '')
  t.equal(await machine.tell('systemctl list-units --all --no-legend "hearth*" | grep -v hearth-vm-runner || true'), '')
  t.equal(await machine.tell('ls -d /sys/fs/cgroup/hearth* 2>/dev/null || true'), '')
})
