import { chmod, lstat, mkdir, readdir, readFile, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import t from 'tap'
import { HostImage } from '../../../agent/images/host-image.ts'
import { silentLog } from '../../../base/log.ts'
import { run, scratch } from './fixtures.ts'

const secret = 'SECRET-5f1c'
const certificate = '-----BEGIN CERTIFICATE-----\nTUlJQg==\n-----END CERTIFICATE-----\n'

async function put(root: string, path: string, content: string | Buffer, mode = 0o644): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true })
  await writeFile(join(root, path), content)
  await chmod(join(root, path), mode)
}

async function link(root: string, path: string, target: string): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true })
  await symlink(target, join(root, path))
}

async function fakeHost(root: string): Promise<void> {
  for (const folder of ['usr/bin', 'usr/lib', 'usr/sbin', 'root', 'home', 'run', 'var/lib'])
    await mkdir(join(root, folder), { recursive: true })
  for (const folder of ['bin', 'sbin', 'lib']) await symlink(`usr/${folder}`, join(root, folder))
  await put(root, 'lib64/ld-linux.so', 'x')
  await put(root, 'etc/passwd', `root:x:0:0:root:/root:/bin/sh\nold:${secret}:7:7::/:/bin/sh\n`)
  await put(root, 'etc/group', `root:x:0:\nold:${secret}:7:old\n`)
  await put(root, 'etc/nsswitch.conf', 'hosts: files dns\n')
  await put(root, 'etc/hosts', '127.0.0.1 localhost\n')
  await put(root, 'etc/hostname', 'box\n')
  await put(root, 'run/systemd/resolve/stub-resolv.conf', 'nameserver 127.0.0.53\n')
  await link(root, 'etc/resolv.conf', '../run/systemd/resolve/stub-resolv.conf')
  await put(root, 'usr/share/zoneinfo/Etc/UTC', 'TZif2')
  await link(root, 'etc/localtime', '/usr/share/zoneinfo/Etc/UTC')
  await put(root, 'etc/ld.so.cache', Buffer.from('glibc-ld.so.cache1.1\0'))
  await put(root, 'etc/ld.so.conf', 'include /etc/ld.so.conf.d/*.conf\n')
  await put(root, 'etc/ld.so.conf.d/libc.conf', '/usr/local/lib\n')
  await link(root, 'etc/alternatives/awk', '/usr/bin/mawk')
  await put(root, 'etc/ca-certificates.conf', 'mozilla/A.crt\n')
  await put(root, 'usr/share/ca-certificates/mozilla/A.crt', certificate)
  await link(root, 'etc/ssl/certs/A.pem', '/usr/share/ca-certificates/mozilla/A.crt')
  await link(root, 'etc/ssl/certs/0123abcd.0', 'A.pem')
  await put(root, 'etc/ssl/certs/ca-certificates.crt', certificate)
}

/** Each lies where a careless copy would pick it up. */
async function plantSecrets(root: string): Promise<void> {
  await put(root, 'etc/shadow', `root:${secret}:1::::::\n`, 0o640)
  await put(root, 'etc/gshadow', secret, 0o640)
  await put(root, 'etc/ssh/ssh_host_ed25519_key', secret, 0o600)
  await put(root, 'etc/ssl/private/site.key', secret, 0o600)
  await put(
    root,
    'etc/ssl/certs/site-with-key.pem',
    `${certificate}-----BEGIN PRIVATE KEY-----\n${secret}\n-----END PRIVATE KEY-----\n`
  )
  await put(root, 'etc/ssl/certs/notes.txt', secret)
  await put(root, 'etc/ssl/certs/private.pem', `${secret}\n${certificate}`, 0o600)
  await put(root, 'etc/ssl/certs/commented.pem', `# ${secret}\n${certificate}`)
  await link(root, 'etc/ssl/certs/linked.pem', '../private/site.key')
  await link(root, 'etc/ssl/certs/climbing.pem', '/usr/share/../../etc/shadow')
  await put(root, 'root/.ssh/id_ed25519', secret, 0o600)
  await link(root, 'etc/ld.so.conf.d/evil.conf', '/etc/shadow')
  await put(root, 'etc/ld.so.conf.d/notes', secret)
  await put(root, 'etc/alternatives/stray', secret)
  await put(root, 'etc/sudoers', secret, 0o440)
  await put(root, 'etc/environment', secret)
  await put(root, 'home/me/.netrc', secret)
  await put(root, 'var/lib/app/db', secret)
  await put(root, 'run/token', secret)
  await put(root, 'opt/app/key', secret)
}

const open = (directory: string, hostRoot: string) => new HostImage({ log: silentLog }, { directory, hostRoot })

async function bench(t: Parameters<typeof scratch>[0]) {
  const directory = await scratch(t)
  const hostRoot = join(directory, 'host')
  const hosts = join(directory, 'hosts')
  await mkdir(hosts)
  await fakeHost(hostRoot)
  return { hostRoot, hosts, image: open(hosts, hostRoot) }
}

t.test('the image host has what programs of the host need', async (t) => {
  const { hostRoot, image } = await bench(t)
  const { layers, mounts } = await image.resolve()
  const [layer = ''] = layers
  const read = (path: string) => readFile(join(layer, path), 'utf8')
  t.equal(await read('etc/resolv.conf'), 'nameserver 127.0.0.53\n')
  t.equal(await read('etc/hosts'), '127.0.0.1 localhost\n')
  t.match(await read('etc/passwd'), /^root:x:0:0:root:\/root:\/bin\/sh\nold:x:7:7/)
  t.equal(await read('etc/ld.so.conf.d/libc.conf'), '/usr/local/lib\n')
  t.equal(await read('etc/ssl/certs/ca-certificates.crt'), certificate)
  const links = await run('find', [layer, '-type', 'l', '-printf', '%P -> %l\\n'])
  t.same(links.toString().trim().split('\n').sort(), [
    'bin -> usr/bin',
    'etc/alternatives/awk -> /usr/bin/mawk',
    'etc/localtime -> /usr/share/zoneinfo/Etc/UTC',
    'etc/ssl/certs/0123abcd.0 -> A.pem',
    'etc/ssl/certs/A.pem -> /usr/share/ca-certificates/mozilla/A.crt',
    'lib -> usr/lib',
    'sbin -> usr/sbin'
  ])
  t.equal((await lstat(join(layer, 'tmp'))).mode & 0o7777, 0o1777)
  t.same(
    mounts.map((mount) => [mount.source, mount.destination]),
    [
      [join(hostRoot, 'usr'), '/usr'],
      [join(hostRoot, 'lib64'), '/lib64']
    ]
  )
  t.ok(mounts.every((mount) => mount.options.includes('ro') && !mount.options.includes('rbind')))
})

t.test('no secret of the host is in the image host', async (t) => {
  const { hostRoot, image } = await bench(t)
  await plantSecrets(hostRoot)
  const { layers } = await image.resolve()
  const [layer = ''] = layers
  const found = await run('sh', ['-c', 'grep -rl "$1" "$2" || true', 'sh', secret, layer])
  t.equal(found.toString(), '')
  t.same((await readdir(join(layer, 'etc/ssl/certs'))).sort(), ['0123abcd.0', 'A.pem', 'ca-certificates.crt', 'commented.pem'])
  t.equal(
    (await readdir(join(layer, 'etc'))).some((name) => ['shadow', 'gshadow', 'ssh', 'sudoers', 'environment'].includes(name)),
    false
  )
  for (const folder of ['root', 'home', 'opt', 'run', 'usr']) t.same(await readdir(join(layer, folder)), [], folder)
})

t.test('the image host is made again when the host changed, and the old one stays while it is used', async (t) => {
  const { hostRoot, hosts, image } = await bench(t)
  const before = await image.resolve()
  t.equal(await image.resolve(), before)
  await put(hostRoot, 'etc/hosts', '127.0.0.1 localhost\n10.0.0.1 other\n')
  await utimes(join(hostRoot, 'etc/hosts'), 1, 1)
  const after = await image.resolve()
  t.not(after.digest, before.digest)
  t.match(await readFile(join(after.layers[0] ?? '', 'etc/hosts'), 'utf8'), /other/)
  t.equal(await image.collect(new Set([before.digest])), 0)
  t.equal((await readdir(hosts)).length, 2)
  t.equal(await image.collect(new Set()), 1)
  t.same(await readdir(hosts), [after.digest.slice(7)])
})

t.test('the image host is readable by all its users, whatever the umask of the agent', async (t) => {
  const { image } = await bench(t)
  const before = process.umask(0o077)
  t.teardown(() => process.umask(before))
  const [layer = ''] = (await image.resolve()).layers
  const closed = await run('find', [layer, '-not', '-type', 'l', '-not', '-perm', '-0004', '-printf', '%P\\n'])
  t.equal(closed.toString(), 'root\n')
})

t.test('a tree that somebody removed is made again', async (t) => {
  const { image } = await bench(t)
  const { layers } = await image.resolve()
  await rm(layers[0] ?? '', { recursive: true })
  t.same((await image.resolve()).layers, layers)
  t.ok((await lstat(layers[0] ?? '')).isDirectory())
})

t.test('two launches at once make the image host once', async (t) => {
  const { image, hosts } = await bench(t)
  const all = await Promise.all([image.resolve(), image.resolve(), image.resolve()])
  t.equal(new Set(all.map((one) => one.layers[0])).size, 1)
  t.equal((await readdir(hosts)).length, 1)
})
