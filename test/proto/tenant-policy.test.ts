import t from 'tap'
import { completeMessage, type Init } from '../../proto/codec.ts'
import type { TaskDefinition, TenantPolicy } from '../../proto/gen/messages.ts'
import { capabilitiesOfMask, capabilityName } from '../../proto/linux-capabilities.ts'
import { scalar } from '../../proto/resources.ts'
import {
  checkPolicy,
  policyRefusal,
  policyRoles,
  registryOf,
  requirableWalls,
  signatureRules,
  usualPolicy
} from '../../proto/tenant-policy.ts'

const refusal = (policy: Partial<TenantPolicy>, task: Init<TaskDefinition>, uid?: number) =>
  policyRefusal(
    { ...usualPolicy, role: 'shop', ...policy },
    'shop/web',
    completeMessage('TaskDefinition', { image: 'host', ...task }),
    uid
  )

t.test('the policy of the nearest role counts', async (t) => {
  t.same(policyRoles('shop/web/eu'), ['shop/web/eu', 'shop/web', 'shop', '*'])
  t.same(policyRoles('*'), ['*'])
})

t.test('the usual policy lets a plain task through and takes down no wall', async (t) => {
  t.equal(refusal({}, { mounts: [{ source: '/srv', target: '/srv' }], image: 'docker.io/library/redis:7' }), undefined)
  t.match(refusal({}, { walls: { addCapabilities: ['CAP_NET_RAW'] } }), /may not add CAP_NET_RAW, only none/)
  t.match(refusal({}, { walls: { devices: [{ path: '/dev/fuse' }] } }), /may not use the device \/dev\/fuse/)
  t.match(refusal({}, { seccomp: 'unconfined' }), /may not run without seccomp/)
  t.match(refusal({}, { seccomp: 'strict' }), /may not use the seccomp profile strict/)
})

t.test('a refusal tells whose policy it is and what would change it', async (t) => {
  t.equal(
    refusal({ devices: ['/dev/fuse'] }, { walls: { devices: [{ path: '/dev/kvm' }] } }),
    'a task of role shop/web may not use the device /dev/kvm, only /dev/fuse; so says the policy of tenant shop; an operator changes that with: hearth tenant set shop --device /dev/kvm'
  )
  const nobody = policyRefusal(usualPolicy, '*', completeMessage('TaskDefinition', { seccomp: 'unconfined' }))
  t.match(nobody, /no policy of its own allows it; .* hearth tenant set '\*' --seccomp unconfined/)
})

t.test('images are allowed by pattern, with or without their tag, and by registry', async (t) => {
  const shop = { images: ['reg.example/shop/*', 'redis'], registries: ['reg.example', 'docker.io'] }
  for (const image of ['reg.example/shop/web:1', 'reg.example/shop/a/b@sha256:00', 'redis:7', 'redis'])
    t.equal(refusal(shop, { image }), undefined, image)
  for (const image of ['reg.example/other/web', 'redis-evil', 'xreg.example/shop/web', 'host', 'redis/x'])
    t.ok(refusal(shop, { image }), image)
  t.match(refusal(shop, { image: 'ghcr.example/redis' }), /may not use images of ghcr.example, only of reg.example, docker.io/)
  t.match(refusal({ images: [] }, {}), /only none/)
  t.same(['a/b', 'localhost/b', 'h:5000/b', 'a.b/c', 'redis', 'host'].map(registryOf), [
    'docker.io',
    'localhost',
    'h:5000',
    'a.b',
    'docker.io',
    'local'
  ])
})

t.test('a policy counts for an image in its short form and in its full one', async (t) => {
  const allowed = (pattern: string, image: string) => refusal({ images: [pattern] }, { image }) === undefined
  for (const pattern of ['redis', 'redis:*', 'docker.io/library/*', 'docker.io/redis', 'library/redis:7'])
    for (const image of ['redis:7', 'docker.io/redis:7', 'docker.io/library/redis:7', 'index.docker.io/library/redis:7'])
      t.ok(allowed(pattern, image), `${pattern} ${image}`)
  t.notOk(allowed('docker.io/library/*', 'anna/redis'))
  t.notOk(allowed('docker.io/*', 'reg.example/redis'))
  t.ok(allowed('reg.example/*', 'Reg.Example/redis'))
  t.match(refusal({ registries: ['docker.io'] }, { image: 'host:latest' }), /may not use images of local/)
})

t.test('rules of signatures are those that match the image, and the built-in image has none', async (t) => {
  const rule = (images: string) => ({ images, keys: ['pem'], anyName: false })
  const of = (image: string, ...patterns: string[]) =>
    signatureRules({ signatures: patterns.map(rule) }, image).map(({ images }) => images)
  t.same(of('redis', 'docker.io/library/*', 'reg.example/*', '*'), ['docker.io/library/*', '*'])
  t.same(of('host', '*'), [])
  t.throws(() => checkPolicy({ ...usualPolicy, signatures: [{ ...rule('a'), keys: [] }] }), { code: 'invalid' })
})

t.test('host paths cover what is below them, and dots do not lead out', async (t) => {
  const mount = (source: string) => refusal({ hostPaths: ['/srv/shop'] }, { mounts: [{ source, target: '/x' }] })
  for (const path of ['/srv/shop', '/srv/shop/a', '/srv/shop/a/../b']) t.equal(mount(path), undefined, path)
  for (const path of ['/srv', '/srv/shopping', '/srv/shop/../other', '/']) t.match(mount(path), /may not mount/, path)
})

t.test('artifacts of the node count as its host paths', async (t) => {
  const read = (url: string) => refusal({ hostPaths: ['/srv/shop'] }, { artifacts: [{ url }] })
  t.equal(read('file:/srv/shop/a'), undefined)
  t.equal(read('https://example.org/etc/shadow'), undefined)
  t.match(read('file:/srv/shop/%2e%2e/b'), /may not read \/srv\/b, only \/srv\/shop/)
})

t.test('devices that nodes count are allowed by name', async (t) => {
  const asked = { resources: [scalar('cpus', 1), scalar('gpu', 2_000)] }
  t.match(refusal({}, asked), /may not use devices named gpu, only none/)
  t.equal(refusal({ devices: ['gpu'] }, asked), undefined)
  t.doesNotThrow(() => checkPolicy({ ...usualPolicy, devices: ['gpu', '/dev/fuse'] }))
})

t.test('each wall that can be required is missed where it is not there', async (t) => {
  const bare = { network: { mode: 'host' }, walls: { newPrivileges: true }, process: { user: 'root' } } as const
  const whole = {
    network: { mode: 'none' },
    process: { user: '1000' },
    walls: { readOnlyRoot: true, tmpBytes: 1, dropCapabilities: ['ALL'], userNamespace: true }
  } as const
  for (const wall of requirableWalls) {
    t.ok(refusal({ required: [wall] }, bare), wall)
    t.equal(refusal({ required: [wall] }, whole), undefined, wall)
  }
  t.ok(refusal({ required: ['non-root'] }, { process: { user: 'app' } }, 0), 'a name that is root on the node')
  t.equal(refusal({ required: ['non-root'] }, { process: { user: '' } }), undefined, 'only the node knows the user of the image')
  t.match(refusal({ required: ['moat'] }, {}), /needs the wall moat, which this version does not know/)
})

t.test('a policy that could never be meant is no policy', async (t) => {
  const check = (policy: Partial<TenantPolicy>) => () => checkPolicy({ ...usualPolicy, ...policy })
  t.doesNotThrow(check({ required: ['non-root'], hostPaths: ['/srv', '/'] }))
  t.throws(check({ required: ['moat'] }), { code: 'invalid', message: /no wall "moat" to require: the words are/ })
  for (const path of ['srv', '/srv/../etc', './x'])
    t.throws(check({ hostPaths: [path] }), { code: 'invalid', message: /no plain absolute path/ }, path)
})

t.test('Linux capabilities are known by name, in any case and with or without CAP_', async (t) => {
  t.equal(capabilityName('net_raw'), 'CAP_NET_RAW')
  t.equal(capabilityName('CAP_NET_RAW'), 'CAP_NET_RAW')
  t.equal(capabilityName('all'), 'ALL')
  t.equal(capabilityName('NET'), undefined)
  t.same(capabilitiesOfMask('0000000000200001'), ['CAP_CHOWN', 'CAP_SYS_ADMIN'])
})
