import t, { type Test } from 'tap'
import { scope } from './crowd.ts'
import { installedMachine } from './installed.ts'
import type { Machine } from './machine.ts'
import { api, ended, startTask, tasksAre } from './operator.ts'

/** What the kernel makes of the limits, on cgroup v2, from the operator's wish to the program that meets them. */

const machine = await installedMachine(t)
const mebibyte = 1024 * 1024

async function cgroupOf(machine: Machine, name: string): Promise<string> {
  const { containerId } = JSON.parse(await machine.tell(`${api}; api GET /v1/tasks/${name}`)) as { readonly containerId: string }
  return `${scope}/${containerId}`
}

const shell = (script: string): { readonly arguments: readonly string[] } => ({ arguments: ['bash', '-c', script] })
const remove = (...names: readonly string[]): Promise<string> => machine.tell(`hearth task rm --force ${names.join(' ')}`, 60)

/**
 * Growth of numbers, each the answer of a command, over ten seconds of the machine, a second after they began; per second, in the
 * order of the commands.
 */
async function ratesPerSecond(t: Test, ...reads: readonly string[]): Promise<readonly number[]> {
  const now = [`cut -d' ' -f1 /proc/uptime`, ...reads].map((read) => `$(${read})`).join(' ')
  const answer = await machine.tell(`sleep 1; echo ${now}; sleep 10; echo ${now}`, 30)
  const [before = [], after = []] = answer.split('\n').map((line) => line.split(' ').map(Number))
  const [seconds = 0, ...growth] = after.map((value, i) => value - (before[i] ?? Number.NaN))
  t.ok(seconds >= 10, `looked at for ${seconds.toFixed(1)} s`)
  return growth.map((value) => value / seconds)
}

const within = (actual: number, wanted: number, share: number): boolean => Math.abs(actual - wanted) <= wanted * share

t.test('the node has every limit that its kernel was built with, and says of the others what is missing', async (t) => {
  const { isolators } = JSON.parse(await machine.tell('hearth node isolators --json', 60)) as {
    readonly isolators: readonly {
      readonly name: string
      readonly capabilities: readonly { name: string; present: boolean; detail: string }[]
    }[]
  }
  const limits = isolators.find(({ name }) => name === 'cgroup')?.capabilities ?? []
  const missing = limits.filter(({ present }) => !present)
  t.ok(missing.length < 5, `${limits.length - missing.length} of ${limits.length} are there`)
  for (const { name, detail } of missing) {
    const option = /CONFIG_\w+/.exec(detail)?.[0] ?? 'none named'
    const built = `grep -c '^${option}=y' /boot/config-$(uname -r) || true`
    t.equal(await machine.tell(built), '0', `${name}: ${detail}`)
  }
})

const usedUs = (directory: string): string => `sed -n 's/^usage_usec //p' ${directory}/cpu.stat`

t.test('a fifth of a processor is a fifth of a processor, and two mebibytes a second are two', async (t) => {
  const io = [{ path: '/var/lib/hearth', writeBytesPerSecond: 2 * mebibyte }]
  await startTask(machine, { name: 'fifth', milliCpu: 200, ...shell('while :; do :; done') })
  await startTask(machine, {
    name: 'writer',
    limits: { io },
    ...shell('dd if=/dev/zero of=/sandbox/x bs=64k oflag=direct count=100000')
  })
  await tasksAre(machine, 'running', 2)
  const [fifth, writer] = [await cgroupOf(machine, 'fifth'), await cgroupOf(machine, 'writer')]
  const written = `sed -n 's/.*wbytes=\\([0-9]*\\).*/\\1/p' ${writer}/io.stat | head -1`
  const [us = 0, bytes = 0] = await ratesPerSecond(t, usedUs(fifth), written)
  t.ok(within(us, 200_000, 0.05), `${Math.round(us)} µs a second`)
  t.ok(within(bytes, 2 * mebibyte, 0.1), `${Math.round(bytes)} bytes a second`)
  await remove('writer')
  await t.test('and after a change of the running task two fifths', async (t) => {
    await machine.tell('hearth task update --cpus 0.4 fifth', 60)
    const [twiceUs = 0] = await ratesPerSecond(t, usedUs(fifth))
    t.ok(within(twiceUs, 400_000, 0.05), `${Math.round(twiceUs)} µs a second`)
  })
  await remove('fifth')
})

t.test('the memory limit ends a process, or all of them, as the task says, and is told as the cause of both', async (t) => {
  const memoryBytes = 48 * mebibyte
  const script = shell('sleep 4; tail /dev/zero; echo one is gone; exit 5')
  await startTask(machine, { name: 'bystander', ...shell('sleep 1000') })
  await startTask(machine, { name: 'one', memoryBytes, ...script })
  await startTask(machine, { name: 'all', memoryBytes, limits: { oomPolicy: 'task' }, ...script })
  const [one, all] = [await ended(machine, 'one'), await ended(machine, 'all')]
  t.match(one, { state: 'failed', reason: 'limit_memory', exitCode: 5 })
  t.match(all, { state: 'failed', reason: 'limit_memory', exitCode: 137 })
  const logs = await machine.tell('cd /var/lib/hearth/agent/sandboxes; grep -l "one is gone" */log')
  t.same(logs.split('\n'), [`${one.containerId}/log`], 'the shell of the other one did not live to say it')
  await remove('one', 'all')
  await tasksAre(machine, 'running', 1)
  await remove('bystander')
})

t.test('no more processes than the limit says', async (t) => {
  const forks =
    'for (1..30) { my $p = fork; if (!defined $p) { $refused++ } elsif ($p == 0) { sleep 1000; exit } } $| = 1; print "$refused\n"; sleep 1000'
  await startTask(machine, { name: 'few', limits: { pidsMax: 20 }, arguments: ['perl', '-e', forks] })
  await tasksAre(machine, 'running', 1)
  const directory = await cgroupOf(machine, 'few')
  const log = `/var/lib/hearth/agent/sandboxes/$(basename ${directory})/log`
  t.equal(
    await machine.tell(`until [ -s ${log} ]; do sleep 0.2; done; cut -d' ' -f4 ${log}; cat ${directory}/pids.current`),
    '11\n20'
  )
  await remove('few')
})

t.test('a task with ids of its own is limited like any other', async (t) => {
  const script = 'tr -s " " < /proc/self/uid_map; test -e /sys/fs/cgroup || echo covered; echo x > /root/x && stat -c %u /root/x'
  const seen = ['runc', 'crun'].map((runtime) => {
    const own = `--user-namespace --runtime ${runtime} --memory 64m`
    return `hearth task run --rm ${own} host -- sh -c '${script}'`
  })
  const each = ['0 1879048192 65536', 'covered', '0']
  t.same(
    (await machine.tell(seen.join('; '), 60)).split('\n').map((line) => line.trim()),
    [...each, ...each]
  )
})

t.test('a task of a NUMA node has its processors and its memory, and what the node has not is refused by name', async (t) => {
  const allowed = (more: string): string =>
    `hearth task run --rm ${more} host -- sed -n 's/^\\(Cpus\\|Mems\\)_allowed_list:[[:space:]]*//p' /proc/self/status`
  t.same((await machine.tell(['--numa 1', '--memory-nodes 0', '--numa 0-1'].map(allowed).join('; '), 90)).split('\n'), [
    ...['1', '1', '0-1', '0', '0-1', '0-1']
  ])
  const refusal = async (more: string): Promise<string> => machine.tell(`hearth task run --rm ${more} host true 2>&1 || true`, 30)
  t.match(await refusal('--numa 7'), /this node has no NUMA node 7: it has 0-1/)
  t.match(await refusal('--misc sev=1'), /this node has no counted resource sev/)
  t.match(await refusal('--rdma mlx4_0:handles=1'), /this node has no RDMA device mlx4_0/)
})

t.test('a limit that shrinks below copies of files takes them back and ends nothing', async (t) => {
  const script =
    'dd if=/dev/zero of=/sandbox/x bs=1M count=60 status=none; sync /sandbox/x; cat /sandbox/x > /dev/null; echo read; sleep 1000'
  await startTask(machine, { name: 'cached', memoryBytes: 100 * mebibyte, ...shell(script) })
  await tasksAre(machine, 'running', 1)
  const directory = await cgroupOf(machine, 'cached')
  const current = `cat ${directory}/memory.current`
  await machine.tell(`until grep -q read /var/lib/hearth/agent/sandboxes/$(basename ${directory})/log; do sleep 0.2; done`, 60)
  t.ok(Number(await machine.tell(current)) > 50 * mebibyte)
  await machine.tell('hearth task update --memory 32m cached', 60)
  t.ok(Number(await machine.tell(current)) <= 32 * mebibyte)
  t.match(await machine.tell(`sed -n 's/^oom_kill //p' ${directory}/memory.events`), '0')
  await tasksAre(machine, 'running', 1)
  await remove('cached')
})

t.test('exclusive cores are nobody else’s, and given back', async (t) => {
  const cores = async (...names: readonly string[]): Promise<readonly string[]> => {
    const places = await Promise.all(names.map((name) => cgroupOf(machine, name)))
    const one = (place: string): string =>
      `grep -h Cpus_allowed_list /proc/$(head -1 ${place}/task/cgroup.procs)/status | cut -f2`
    return (await machine.tell(places.map(one).join('; '))).split('\n')
  }
  await startTask(machine, { name: 'shares', ...shell('sleep 1000') })
  await tasksAre(machine, 'running', 1)
  await startTask(machine, { name: 'alone', limits: { exclusiveCores: 1 }, ...shell('sleep 1000') })
  await tasksAre(machine, 'running', 2)
  await startTask(machine, { name: 'late', ...shell('sleep 1000') })
  await tasksAre(machine, 'running', 3)
  t.same(await cores('shares', 'alone', 'late'), ['0', '1', '0'])
  await remove('alone')
  t.same(await cores('shares', 'late'), ['0-1', '0-1'])
  await remove('shares', 'late')
})
