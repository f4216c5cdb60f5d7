import { chmodSync, chownSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { systemExec } from '../../agent/host/exec.ts'
import { ShiftedViews } from '../../agent/images/shifted-views.ts'
import { silentLog } from '../../base/log.ts'
import type { IsolatorRequest } from '../../isolators/isolator.ts'
import type { ExecRequest } from '../../isolators/runtime/runtime.ts'
import { usualWalls } from '../../isolators/walls.ts'
import { rangeNumber } from '../../proto/id-ranges.ts'
import { bundledUnpack, never, run, scratch } from '../agent/images/fixtures.ts'
import { makeBusyboxLayer } from '../support/busybox-layer.ts'
import { type ContainerHost, containerHost } from '../support/containers.ts'
import { localTask, startLocalAgent } from '../support/local-agent.ts'
import { openStream } from '../support/stream-client.ts'

const patience = (): AbortSignal => AbortSignal.timeout(30_000)
const ids = rangeNumber(5)
const { first } = ids
const unpackProgram = await bundledUnpack(await scratch(t))

/** A store with one layer of programs, some of which belong to somebody. */
async function viewsOf(t: Test) {
  const directory = await scratch(t)
  chmodSync(directory, 0o711)
  for (const folder of ['l', 'drafts', 'hosts']) mkdirSync(join(directory, folder))
  const layer = makeBusyboxLayer(join(directory, 'l/abcdefabcdef'))
  writeFileSync(join(layer, 'etc/web'), 'the web’s')
  chownSync(join(layer, 'etc/web'), 1000, 1000)
  writeFileSync(join(layer, 'etc/far'), 'nobody’s')
  chownSync(join(layer, 'etc/far'), 100_000, 100_000)
  writeFileSync(join(layer, 'bin/as-root'), '')
  chmodSync(join(layer, 'bin/as-root'), 0o4755)
  const open = (bootId = 'boot') => {
    const views = new ShiftedViews({ exec: systemExec, log: silentLog }, { directory, unpackProgram, bootId })
    t.teardown(() => views.settled())
    return views
  }
  return { directory, layer, open }
}

/** setxattr(2) of a version 2 `security.capability` that is effective; `bits` are the permitted ones. */
const giveCapabilities = (path: string, bits: number) => {
  const call = process.arch === 'arm64' ? 5 : 188
  const value = `pack("V5", 0x02000001, ${bits}, 0, 0, 0)`
  const words = `my ($p, $n, $v) = ("$ARGV[0]\\0", "security.capability\\0", ${value}); exit(syscall(${call}, $p, $n, $v, 20, 0) != 0)`
  return run('perl', ['-e', words, path])
}

const birthOf = (path: string): bigint => statSync(path, { bigint: true }).birthtimeNs

async function start(host: ContainerHost, request: IsolatorRequest, runtime: 'runc' | 'crun') {
  const launch = await host.prepare(request)
  await host.runtime.launch({ ...launch, runtime }, patience())
  return async () => {
    const exit = await host.runtime.wait(request.containerId, patience())
    const lines = readFileSync(launch.logPath, 'utf8').trimEnd().split('\n')
    return { exit, lines: lines.map((line) => line.replace(/^\S+ \S+ \S+ /, '')) }
  }
}

const script = `
cat /proc/self/uid_map /proc/self/gid_map
ls -ln /etc | awk '{ print $3, $4, $9 }'
cat /etc/web; echo
echo mine > /etc/mine && ls -ln /etc/mine | awk '{ print "mine", $3, $4 }'
cat /proc/1/root/bin/busybox > /dev/null && echo content is there
ls -ln /bin/as-root | cut -c1-10
echo by name > /dev/stdout
echo kept > /sandbox/kept && ls -ldn /sandbox | awk '{ print "sandbox", $3, $4 }'
test -e /sys/class && echo sys; ls /sys/fs/cgroup 2>/dev/null | head -1
`

for (const [runtime, network] of [
  ['runc', 'host'],
  ['crun', 'none']
] as const)
  t.test(`${runtime} with network ${network} gives a container ids that nobody else has`, async (t) => {
    const host = await containerHost(t)
    const { layer, open } = await viewsOf(t)
    const layers = await open().over([layer], ids, patience())
    const request = { ...host.request(['sh', '-c', script]), network, layers, walls: { ...usualWalls, ids } }
    const { exit, lines } = await (await start(host, request, runtime))()
    t.match(exit, { kind: 'exited', code: 0 })
    const map = lines.filter((line) => /^\s+0\s/.test(line)).map((line) => line.trim().split(/\s+/).map(Number))
    t.same(map, [
      [0, first, 65_536],
      [0, first, 65_536]
    ])
    for (const line of [
      ...['1000 1000 web', 'the web’s', '65534 65534 far', '0 0 passwd', 'mine 0 0', 'content is there', '-rwsr-xr-x'],
      ...['by name', 'sandbox 0 0', 'sys']
    ])
      t.ok(lines.includes(line), `${line} in ${lines.join(' | ')}`)
    t.equal(lines.at(-1), 'sys', 'no cgroup of the node is in sight')
    t.equal(statSync(join(request.sandboxDir, 'upper/etc/mine')).uid, first, 'on the node its root is nobody')
    t.equal(statSync(join(request.sandboxDir, 'files/kept')).uid, first)
    t.equal(readFileSync(join(layer, 'etc/web'), 'utf8'), 'the web’s')
    t.equal(statSync(join(layer, 'etc/web')).uid, 1000, 'the layer is as it was')
  })

for (const runtime of ['runc', 'crun'] as const)
  t.test(`file capabilities of an image count in it, as ${runtime} starts it`, async (t) => {
    const host = await containerHost(t)
    const { layer, open } = await viewsOf(t)
    mkdirSync(join(layer, 'able'))
    writeFileSync(join(layer, 'able/busybox'), readFileSync(join(layer, 'bin/busybox')))
    chmodSync(join(layer, 'able/busybox'), 0o755)
    await giveCapabilities(join(layer, 'able/busybox'), 0x21)
    const layers = await open().over([layer], ids, patience())
    const words = ['/able/busybox', 'grep', 'CapEff', '/proc/self/status']
    const walls = { ...usualWalls, ids, newPrivileges: true }
    const asked = host.request(words)
    const request = { ...asked, process: { ...asked.process, uid: 1000, gid: 1000 }, layers, walls }
    const { exit, lines } = await (await start(host, request, runtime))()
    t.match(exit, { code: 0 })
    t.match(lines[0], /^CapEff:\s+0000000000000021$/)
  })

t.test('crun maps the ids of a mounted folder of the node, too', async (t) => {
  const host = await containerHost(t)
  const { layer, open } = await viewsOf(t)
  const shared = join(host.directory, 'shared')
  mkdirSync(shared)
  writeFileSync(join(shared, 'theirs'), '')
  chownSync(join(shared, 'theirs'), 33, 33)
  const words = 'ls -ln /shared/theirs | cut -d" " -f1-20; echo x > /shared/mine'
  const request = {
    ...{ ...host.request(['sh', '-c', words]), layers: await open().over([layer], ids, patience()) },
    mounts: [{ source: shared, target: '/shared', readOnly: false }],
    walls: { ...usualWalls, ids }
  }
  const { exit, lines } = await (await start(host, request, 'crun'))()
  t.match(exit, { code: 0 })
  t.match(lines[0], /\b33\s+33\b/)
  t.equal(statSync(join(shared, 'mine')).uid, 0, 'what its root writes there is the node’s root’s')
})

t.test('a program in it runs as a user that the image names, not as what stands in a view', async (t) => {
  const host = await containerHost(t)
  const { layer, open } = await viewsOf(t)
  const layers = await open().over([layer], ids, patience())
  const words = 'chmod 600 /etc/group; echo ready; sleep 1000'
  const request = { ...host.request(['sh', '-c', words]), layers, walls: { ...usualWalls, ids } }
  await start(host, request, 'runc')
  const task = localTask({ containerId: request.containerId, bundleDir: request.bundleDir })
  const agent = await startLocalAgent({ tasks: [task], execCommand: (exec: ExecRequest) => host.runtime.execCommand(exec) })
  t.teardown(() => agent.stop())
  const told = async (user: string) => {
    const wish = { arguments: ['sh', '-c', 'id -u; cat /proc/self/uid_map'], user }
    const stream = await openStream(agent.socketPath, '/v1/tasks/hearth-tasks/one/exec', wish)
    return { end: await stream.end, said: stream.stdout().trim().split(/\s+/) }
  }
  t.same(await told('web:web'), { end: { exitCode: 0 }, said: ['1000', '0', String(first), '65536'] })
})

t.test('a view is made once, again for another layer of the name, and goes with its layer', async (t) => {
  const { directory, layer, open } = await viewsOf(t)
  const views = open()
  const [[view = ''], [same]] = await Promise.all([views.over([layer], ids, patience()), views.over([layer], ids, patience())])
  t.equal(view, same)
  const made = birthOf(view)
  const [other = ''] = await views.over([layer], rangeNumber(6), patience())
  t.equal(statSync(join(other, 'etc/web')).uid, rangeNumber(6).first + 1000, 'another role has its own')
  await open().over([layer], ids, patience())
  t.equal(birthOf(view), made, 'the next agent uses it')
  await run('cp', ['-a', layer, join(directory, 'copy')])
  await run('rm', ['-r', layer])
  await run('mv', [join(directory, 'copy'), layer])
  await views.over([layer], ids, patience())
  t.not(birthOf(view), made)
  await views.settled()
  t.equal(await views.collect(), 0)
  t.equal(await views.countOf(['abcdefabcdef']), 2)
  await run('rm', ['-r', layer])
  t.equal(await views.collect(), 2)
  t.throws(() => statSync(view))
})

t.test('of a view that was not on the disk nothing is believed after another boot', async (t) => {
  const { layer, open } = await viewsOf(t)
  const views = open()
  const [view = ''] = await views.over([layer], ids, patience())
  await views.settled()
  const note = `${view}.json`
  const told = JSON.parse(readFileSync(note, 'utf8')) as object
  writeFileSync(note, JSON.stringify({ ...told, durable: false }))
  const made = birthOf(view)
  await open('next boot').over([layer], ids, patience())
  t.not(birthOf(view), made)
  await t.rejects(
    open().over(
      Array.from({ length: 60 }, (_, i) => `${layer}${i}`),
      ids,
      never
    ),
    { code: 'unsupported' }
  )
})
