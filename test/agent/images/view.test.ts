import { chmod, mkdir, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import t from 'tap'
import { openLayerView } from '../../../agent/images/layer-view.ts'
import { resolveUser } from '../../../agent/images/users.ts'
import { isRoot, run, scratch } from './fixtures.ts'

const passwd = 'root:x:0:0::/root:/bin/sh\nweb:x:33:34::/:/bin/sh\nbroken line\n42:x:7:8::/:\n'
const group = 'root:x:0:\nweb:x:34:\nlogs:x:50:web,other\nmore:x:51:other, web\ntapes:x:26:web\n'

async function put(root: string, path: string, content: string, mode = 0o644): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true })
  await writeFile(join(root, path), content)
  await chmod(join(root, path), mode)
}

async function link(root: string, path: string, target: string): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true })
  await symlink(target, join(root, path))
}

t.test('users and groups come from the image, by name or number', async (t) => {
  const root = await scratch(t)
  await put(root, 'etc/passwd', passwd)
  await put(root, 'etc/group', group)
  const rows: readonly (readonly [string, object])[] = [
    ['', { uid: 0, gid: 0, additionalGids: [] }],
    ['root', { uid: 0, gid: 0, additionalGids: [] }],
    ['web', { uid: 33, gid: 34, additionalGids: [50, 26] }],
    ['33', { uid: 33, gid: 34, additionalGids: [50, 26] }],
    ['web:root', { uid: 33, gid: 0, additionalGids: [] }],
    ['1000', { uid: 1000, gid: 0, additionalGids: [] }],
    ['1000:2000', { uid: 1000, gid: 2000, additionalGids: [] }],
    ['42', { uid: 7, gid: 8, additionalGids: [] }]
  ]
  for (const [user, expected] of rows) t.same(await resolveUser(user, [root]), expected, user)
  for (const user of ['nobody-here', 'web:nothing', 'a:b:c', 'web:', ':web', '-1', '4294967295', '99999999999']) {
    await t.rejects(resolveUser(user, [root]), { code: 'invalid' }, user)
  }
})

t.test('the upper layer counts, and links lead nowhere but into the image', async (t) => {
  const directory = await scratch(t)
  const [upper, lower, empty] = ['upper', 'lower', 'empty'].map((name) => join(directory, name)) as [string, string, string]
  await put(lower, 'etc/passwd', 'app:x:1:1::/:\n')
  await put(upper, 'etc/group', 'app:x:9:\n')
  await mkdir(empty)
  t.match(await resolveUser('app', [empty, upper, lower]), { uid: 1, gid: 1 })
  t.match(await resolveUser('app:app', [empty, upper, lower]), { uid: 1, gid: 9 })
  await link(upper, 'etc/passwd', '/real/passwd')
  await put(lower, 'real/passwd', 'app:x:2:2::/:\n')
  t.match(await resolveUser('app', [upper, lower]), { uid: 2 })
  await put(directory, 'outside', 'app:x:666:666::/:\n')
  for (const target of ['../../../../../../outside', join(directory, 'outside'), 'passwd', '/etc/passwd']) {
    const layer = join(directory, `layer-${target.replaceAll('/', '_')}`)
    await link(layer, 'etc/passwd', target)
    await t.rejects(resolveUser('app', [layer]), { code: 'invalid' }, target)
  }
})

t.test('what a layer removed is not seen', { skip: isRoot ? false : 'needs root: whiteouts are device nodes' }, async (t) => {
  const directory = await scratch(t)
  const [upper, lower] = ['upper', 'lower'].map((name) => join(directory, name)) as [string, string]
  await put(lower, 'etc/passwd', passwd)
  await put(lower, 'var/a', 'x')
  await put(upper, 'var/b', 'x')
  await mkdir(join(upper, 'etc'))
  await run('mknod', [join(upper, 'etc/passwd'), 'c', '0', '0'])
  await t.rejects(resolveUser('web', [upper, lower]), { code: 'invalid' })
  t.equal((await (await openLayerView([upper, lower])).lookup('/var/a')).kind, 'file')
  await writeFile(`${upper}.json`, JSON.stringify({ opaque: ['var'] }))
  const view = await openLayerView([upper, lower])
  t.equal((await view.lookup('/var/a')).kind, 'absent')
  t.equal((await view.lookup('/var/b')).kind, 'file')
})
