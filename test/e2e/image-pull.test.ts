import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { makeBusyboxLayer } from '../support/busybox-layer.ts'
import { runProgram, startCluster } from '../support/cluster.ts'
import { pushSignatures, signed } from '../support/image-signer.ts'
import { startRegistry } from '../support/registry.ts'

interface Image {
  readonly name: string
  readonly kind: string
  readonly digest: string
}

interface Task {
  readonly state: string
  readonly reason: string | null
  readonly message: string
  readonly exitCode: number | null
}

/** An image as umoci makes it: busybox, a user of its own, and settings that a container has to honour. */
async function umociLayout(t: Test): Promise<string> {
  const home = mkdtempSync(join(tmpdir(), 'hearth-umoci-'))
  t.teardown(() => rmSync(home, { recursive: true, force: true }))
  const layout = join(home, 'layout')
  const root = join(home, 'root')
  const umoci = async (...args: string[]): Promise<void> => {
    const ran = await runProgram('umoci', args)
    if (ran.code !== 0) throw new Error(`umoci ${args.join(' ')}: ${ran.stderr}`)
  }
  makeBusyboxLayer(root)
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0::/:/bin/sh\nanna:x:4711:4712::/:/bin/sh\n')
  writeFileSync(join(root, 'etc/group'), 'root:x:0:\nanna:x:4712:\nfriends:x:4713:anna\n')
  await umoci('init', '--layout', layout)
  await umoci('new', '--image', `${layout}:1`)
  await umoci('insert', '--image', `${layout}:1`, root, '/')
  await umoci(
    'config',
    '--image',
    `${layout}:1`,
    '--config.user',
    'anna',
    '--config.workingdir',
    '/etc',
    '--config.env',
    'WORD=kept'
  )
  await umoci('config', '--image', `${layout}:1`, '--config.entrypoint', '/bin/sh', '--config.entrypoint', '-c')
  await umoci('config', '--image', `${layout}:1`, '--config.stopsignal', 'SIGUSR1')
  await umoci('config', '--image', `${layout}:1`, '--config.cmd', 'echo "$WORD $(id -u) $(id -G) $(pwd)"')
  return `${layout}:1`
}

t.test('a tenant runs what is signed by its key, and nothing else', async (t) => {
  const registry = await startRegistry(t)
  await registry.push(await umociLayout(t), 'shop/web:1')
  const cluster = await startCluster(t)
  const name = `${registry.host}/shop/web:1`
  const { digest } = await cluster.json<Image>(['image', 'pull', name])
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
  const file = join(cluster.stateDir, 'cosign.pub')
  writeFileSync(file, publicKey.export({ type: 'spki', format: 'pem' }))
  const rule = `${registry.host}/*=${file}`
  t.match(await cluster.hearth(['tenant', 'set', '*', '--signed', rule]), {
    stdout: /Signed images: +127\S+ by sha256:[0-9a-f]{12}\n/
  })
  const unsigned = await cluster.hearth(['task', 'run', '--name', 'unsigned', name])
  t.match(unsigned, { stderr: /the image \S+ has no signature; the policy asks for one/ })
  t.match(await cluster.json<Task>(['task', 'show', 'unsigned']), { state: 'failed', reason: 'policy_refused' })
  await pushSignatures(`http://${registry.host}/v2/shop/web`, digest, [signed(privateKey, { digest, name })])
  t.match(await cluster.hearth(['task', 'run', '--rm', name]), { code: 0, stdout: /^kept / })
  const secret = join(cluster.stateDir, 'cosign.key')
  writeFileSync(secret, privateKey.export({ type: 'pkcs8', format: 'pem' }))
  t.match(await cluster.hearth(['tenant', 'set', '*', '--signed', `*=${secret}`]), { code: 64, stderr: /that is a private key/ })
  t.match(await cluster.hearth(['tenant', 'set', '*', '--signed', 'none']), { stdout: /Signed images: +none\n/ })
})

t.test('a task runs from a registry, as its image says', async (t) => {
  const registry = await startRegistry(t)
  await registry.push(await umociLayout(t), 'shop/web:1')
  const cluster = await startCluster(t)
  const name = `${registry.host}/shop/web:1`
  const ran = await cluster.hearth(['task', 'run', '--rm', name])
  t.match(ran, { code: 0, stdout: 'kept 4711 4712 4713 /etc\n' }, ran.stderr)
  const asked = registry.asked.length
  t.ok(asked > 0)
  const again = await cluster.hearth(['task', 'run', '--rm', '--pull', 'never', name, 'echo again'])
  t.match(again, { code: 0, stdout: 'again\n' }, again.stderr)
  t.equal(registry.asked.length, asked, 'nothing more was asked for')
  const pulled = await cluster.json<Image>(['image', 'pull', name])
  t.match(pulled, { name, kind: 'registry', digest: /^sha256:/ })
  t.ok(registry.asked.length > asked)
  t.match(await cluster.hearth(['image', 'pull', `${registry.host}/shop/web@${pulled.digest}`]), { code: 0 })
  const listed = await cluster.json<readonly Image[]>(['image', 'list'])
  t.same(
    listed.map((image) => image.name),
    [name, `${registry.host}/shop/web@${pulled.digest}`, 'host'].sort((a, b) =>
      a === 'host' ? -1 : b === 'host' ? 1 : a < b ? -1 : 1
    )
  )

  const body = "trap 'exit 9' USR1; echo up; while :; do sleep 0.1; done"
  await cluster.hearth(['task', 'run', '-d', '--name', 'stops', name, body])
  const logs = cluster.spawn(['task', 'logs', '--follow', 'stops'])
  await new Promise((resolve) => logs.stdout?.once('data', resolve))
  t.match(await cluster.hearth(['task', 'kill', 'stops']), { code: 0 })
  t.match(await cluster.json<Task>(['task', 'show', 'stops']), { exitCode: 9 }, 'by the signal of its image')
  t.match(await cluster.hearth(['image', 'verify', name]), { code: 0, stdout: `${name}: sound\n` })
  const image = await cluster.json<{ readonly layerDigests: readonly string[] }>(['image', 'show', name])
  const layer = join(cluster.stateDir, 'agent/images/layers', image.layerDigests[0]?.slice(7) ?? '')
  writeFileSync(join(layer, 'etc/passwd'), 'changed')
  t.match(await cluster.hearth(['image', 'verify', name]), {
    code: 74,
    stdout: /: damaged\n {2}layer [0-9a-f]{12}: "etc\/passwd"\n/
  })
  t.match(await cluster.hearth(['image', 'verify', '--repair', name]), { code: 0, stdout: /was damaged, and is repaired/ })
  const pruned = await cluster.json<{ readonly images: readonly string[] }>(['image', 'prune', '--unused-for', '1h'])
  t.same(pruned.images, [])

  const absent = await cluster.hearth(['task', 'run', '--name', 'absent', `${registry.host}/shop/nothing:1`])
  t.match(absent, { stderr: /cannot be pulled: 127\.0\.0\.1:\d+ answers 404/ })
  t.not(absent.code, 0)
  t.match(await cluster.json<Task>(['task', 'show', 'absent']), { state: 'failed', reason: 'image_unknown' })
  const dead = await cluster.hearth(['task', 'run', '--name', 'dead', '127.0.0.1:9/shop/web:1'])
  t.match(dead, { stderr: /127\.0\.0\.1:9 cannot be reached: nobody listens there/ })
  t.match(await cluster.json<Task>(['task', 'show', 'dead']), { state: 'failed', reason: 'image_pull_failed' })
  const never = await cluster.hearth(['task', 'run', '--pull', 'never', `${registry.host}/shop/other:1`])
  t.match(never, { stderr: /there is no image .* on this node: pull or import it first/ })
  const refused = await cluster.hearth(['image', 'pull', 'Not/A Name'])
  t.match(refused, { code: 64, stderr: /is no image name/ })
  t.match(await cluster.hearth(['image', 'pull', '--username', 'anna', name]), { code: 64, stderr: /--password-stdin/ })
})
