import { mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { fullRequest } from '../../agent/task-request.ts'
import { completeMessage, type Init } from '../../proto/codec.ts'
import type { IdRange, TaskDefinition, TenantPolicy } from '../../proto/gen/messages.ts'
import { rangeNumber } from '../../proto/id-ranges.ts'
import { usualPolicy } from '../../proto/tenant-policy.ts'

const image = {
  ...{ reference: 'i', digest: 'd', layers: [], mounts: [], entrypoint: [], command: ['true'], environment: [] },
  ...{ workingDirectory: '', user: '', stopSignal: '' }
}

t.test('the agent looks at the policy again with what it alone knows', async (t) => {
  const dir = t.testdir({ given: {}, secret: {} })
  mkdirSync(join(dir, 'given/own'))
  symlinkSync(join(dir, 'secret'), join(dir, 'given/link'))
  symlinkSync('/dev/zero', join(dir, 'given/zero'))
  const config = {
    ...{ runDir: dir, sandboxesDir: dir, hostname: 'h', allowedMounts: [dir], allowUnconfined: false },
    allowedDevices: ['/dev/zero'],
    missing: () => undefined
  }
  const ask = (task: Init<TaskDefinition>, policy: Partial<TenantPolicy> | null, uid = 0) => {
    const group = {
      role: 'shop',
      tasks: [{ image: 'i', ...task }],
      policy: policy && { ...usualPolicy, role: 'shop', ...policy }
    }
    const row = completeMessage('TaskRow', { containerId: 'c', group })
    return () => fullRequest(config, row, image, { uid, gid: uid, additionalGids: [] }, async () => undefined)
  }
  const mount = (name: string) => ({ mounts: [{ source: join(dir, 'given', name), target: '/x' }] })
  const given = { hostPaths: [join(dir, 'given')], devices: [join(dir, 'given')], required: ['non-root'] }
  t.doesNotThrow(ask(mount('own'), given, 1000))
  t.throws(ask(mount('link'), given, 1000), {
    code: 'denied',
    detail: { reason: 'policy_refused' },
    message: /may not mount .*secret/
  })
  const device = { walls: { devices: [{ path: join(dir, 'given/zero') }] } }
  t.throws(ask(device, given, 1000), { code: 'denied', message: /may not use the device \/dev\/zero/ })
  t.throws(ask({ process: { user: 'app' } }, given), { code: 'denied', message: /other than root/ })
  t.doesNotThrow(ask(mount('link'), null), 'a master without policies sends none')
})

t.test('a task with a user namespace has the ids of its role, or is refused with the reason', async (t) => {
  const config = {
    ...{ runDir: '/r', sandboxesDir: '/s', hostname: 'h', allowedMounts: ['/'], allowUnconfined: false, allowedDevices: [] },
    missing: (name: string) => (name === 'mount.idmap.runc' ? 'runc 1.1.5 maps no ids of mounts' : undefined)
  }
  const ids = rangeNumber(3)
  const ask = (task: Init<TaskDefinition>, given: IdRange | null = ids, uid = 0) => {
    const group = { role: 'shop', tasks: [{ image: 'i', walls: { userNamespace: true }, ...task }], ids: given }
    const row = completeMessage('TaskRow', { containerId: 'c', group })
    return () => fullRequest(config, row, image, { uid, gid: 0, additionalGids: [] }, async () => undefined).walls.ids
  }
  t.same(ask({})(), ids)
  t.equal(ask({ walls: {} })(), undefined)
  t.throws(ask({}, null), { code: 'invalid', message: /gives roles no ids/ })
  t.throws(ask({}, { ...ids, first: 0 }), { code: 'invalid', message: /none that a role can have/ })
  t.throws(ask({}, ids, 70_000), { code: 'invalid', message: /the user or group 70000 has no place in it/ })
  const mounts = [{ source: '/usr', target: '/u', readOnly: true }]
  t.throws(ask({ mounts }), { code: 'unsupported', message: /runc 1.1.5 maps no ids of mounts/ })
  t.same(ask({ mounts, runtime: 'crun' })(), ids)
})
