import { readFileSync } from 'node:fs'
import t from 'tap'
import { usualWalls, type WallRequest } from '../../isolators/walls.ts'
import { type ContainerHost, containerHost } from '../support/containers.ts'

const patience = (): AbortSignal => AbortSignal.timeout(30_000)

/** What a shell script in a container with these walls writes, and how it ends. */
async function run(host: ContainerHost, runtime: 'runc' | 'crun', script: string, walls: Partial<WallRequest>, uid = 0) {
  const bare = host.request(['sh', '-c', script])
  const request = { ...bare, walls: { ...usualWalls, ...walls }, process: { ...bare.process, uid, gid: uid } }
  const launch = await host.prepare(request)
  await host.runtime.launch({ ...launch, runtime }, patience())
  const exit = await host.runtime.wait(request.containerId, patience())
  const lines = readFileSync(launch.logPath, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => line.replace(/^\S+ \S+ \S+ /, ''))
  await host.remove(request)
  return { lines, exit }
}

const asked: Partial<WallRequest> = {
  capabilities: ['CAP_CHOWN', 'CAP_NET_RAW'],
  ambientCapabilities: ['CAP_NET_RAW'],
  readOnlyRoot: true,
  hiddenPaths: ['/etc/group'],
  limits: [{ name: 'nofile', soft: 100, hard: 200 }],
  devices: [{ path: '/dev/null', target: '/dev/mine', access: 'w' }],
  tmpBytes: 1024 * 1024,
  shmBytes: 2 * 1024 * 1024,
  settings: [{ name: 'net.core.somaxconn', value: '77' }]
}

const script = `
grep -E '^Cap(Bnd|Eff|Amb)|^NoNewPrivs|^Seccomp:' /proc/self/status
echo files $(ulimit -Sn) $(ulimit -Hn)
touch /etc/x 2>/dev/null || echo root is read-only
echo x > /sandbox/x && echo sandbox is writable
head -c 2097152 /dev/zero > /tmp/x 2>/dev/null || echo tmp has $(wc -c < /tmp/x)
head -c 1048576 /dev/zero > /dev/shm/x && echo shm is larger
echo x > /dev/mine && echo device is written
echo group $(wc -c < /etc/group)
cat /proc/sys/net/core/somaxconn
`

for (const runtime of ['runc', 'crun'] as const) {
  t.test(`${runtime} puts up every wall that a task asks for`, async (t) => {
    const host = await containerHost(t)
    const { lines, exit } = await run(host, runtime, script, asked, 1000)
    t.match(exit, { kind: 'exited', code: 0 })
    const caps = (name: string) => lines.find((line) => line.startsWith(name))?.split(/\s+/)[1]
    t.equal(caps('CapBnd'), '0000000000002001')
    t.equal(caps('CapEff'), '0000000000002000', 'what was added by name is in force for a user')
    t.equal(caps('CapAmb'), '0000000000002000')
    t.equal(caps('NoNewPrivs'), '1')
    t.equal(caps('Seccomp'), '2')
    for (const line of [
      'files 100 200',
      'root is read-only',
      'sandbox is writable',
      'tmp has 1048576',
      'shm is larger',
      'device is written',
      'group 0',
      '77'
    ])
      t.ok(lines.includes(line), `${line} in ${lines.join(' | ')}`)
  })
}
