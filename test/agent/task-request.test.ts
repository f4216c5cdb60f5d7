import { mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { fullRequest } from '../../agent/task-request.ts'
import { completeMessage, type Init } from '../../proto/codec.ts'
import type { TaskDefinition, TenantPolicy } from '../../proto/gen/messages.ts'
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
