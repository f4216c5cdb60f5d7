import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { makeBusyboxLayer } from '../support/busybox-layer.ts'
import { eventually, startCluster } from '../support/cluster.ts'
import { dockerPush } from '../support/docker-push.ts'
import { startRegistry } from '../support/registry.ts'

interface Task {
  readonly state: string
  readonly message: string
  readonly ready: boolean | null
  readonly exitCode: number | null
  readonly containerId: string
}

const dockerfile = `FROM scratch
COPY root /
COPY --chown=4711:4712 data /data
ENV WORD=kept
WORKDIR /data
USER anna
VOLUME /data /cache /proc/own
STOPSIGNAL SIGUSR1
HEALTHCHECK --interval=200ms --timeout=20s --retries=1 CMD test -e /data/well
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["echo \\"$WORD $(id -u) $(id -g) $(pwd) $(cat seed)\\"; ls /data"]
`

function context(t: Test): string {
  const home = mkdtempSync(join(tmpdir(), 'hearth-context-'))
  t.teardown(() => rmSync(home, { recursive: true, force: true }))
  const root = makeBusyboxLayer(join(home, 'root'))
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0::/:/bin/sh\nanna:x:4711:4712::/:/bin/sh\n')
  mkdirSync(join(home, 'data'))
  writeFileSync(join(home, 'data/seed'), 'sown\n')
  writeFileSync(join(home, 'Dockerfile'), dockerfile)
  return home
}

t.test('what docker builds and pushes runs as its Dockerfile says', async (t) => {
  const registry = await startRegistry(t)
  await dockerPush(t, registry, context(t), 'shop/built:1')
  const cluster = await startCluster(t)
  const name = `${registry.host}/shop/built:1`
  const show = (task: string) => cluster.json<Task>(['task', 'show', task])
  t.match(await cluster.hearth(['task', 'run', '--rm', name]), { code: 0, stdout: 'kept 4711 4712 /data sown\nseed\n' })
  t.match(await cluster.json(['image', 'show', name]), {
    volumes: ['/cache', '/data', '/proc/own'],
    healthCheck: { command: ['/bin/sh', '-c', 'test -e /data/well'], intervalMs: 200, failures: 1 }
  })

  const body = "trap 'exit 9' USR1; touch /data/well /data/new; while :; do sleep 0.1; done"
  await cluster.hearth(['task', 'run', '-d', '--name', 'web', name, body])
  const well = await eventually(async () => ((await show('web')).ready === true ? await show('web') : undefined))
  t.match(well.message, 'fresh volumes of its image: /cache, /data')
  const volumes = join(cluster.stateDir, 'agent/sandboxes', well.containerId, 'volumes')
  t.ok(existsSync(volumes), 'in the sandbox')
  t.match(await cluster.hearth(['task', 'exec', 'web', 'rm', '/data/well']), { code: 0 })
  await eventually(async () => ((await show('web')).ready === false ? true : undefined))
  t.match(await show('web'), { state: 'running' }, 'what an image says of its health ends nothing')
  t.match(await cluster.hearth(['task', 'run', '--rm', name, 'ls /data']), { stdout: 'seed\n' }, 'a volume of its own for each')
  t.match(await cluster.hearth(['task', 'kill', 'web']), { code: 0 })
  t.match(await show('web'), { exitCode: 9 }, 'by the signal of its image')
  t.match(await cluster.hearth(['task', 'rm', 'web']), { code: 0 })
  await eventually(() => (existsSync(volumes) ? undefined : true))

  const closed = ['task', 'run', '--rm', '--read-only', name, 'touch /data/new || echo closed']
  t.match(await cluster.hearth(closed), { stdout: 'closed\n' }, 'a volume is no way around a read-only root')
  const own = await cluster.hearth(['task', 'run', '--rm', '--tmp', '1MiB', '--hide', '/cache', name, 'ls /cache; ls /data'])
  t.match(own, { stdout: 'seed\n' }, own.stderr)
})
