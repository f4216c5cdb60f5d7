import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { apparmor } from '../../isolators/apparmor.ts'
import { devices, numbersOf } from '../../isolators/devices.ts'
import { hiddenPaths } from '../../isolators/hidden-paths.ts'
import type { IsolatorRequest } from '../../isolators/isolator.ts'
import { kernelSettings } from '../../isolators/kernel-settings.ts'
import { rlimits } from '../../isolators/rlimits.ts'
import { usualWalls, type WallRequest } from '../../isolators/walls.ts'

const signal = new AbortController().signal
const asked = (walls: Partial<WallRequest>, network: 'host' | 'none' = 'none') =>
  ({ walls: { ...usualWalls, ...walls }, network }) as IsolatorRequest

t.test('a process limit is cut to what the agent may give, and the cut is told', async (t) => {
  const file = join(t.testdir(), 'limits')
  writeFileSync(
    file,
    'Limit  Soft  Hard  Units\nMax open files            1024                 20000                files     \n'
  )
  const isolator = rlimits(file)
  const part = await isolator.prepare(asked({ limits: [{ name: 'nofile', soft: 4096, hard: 1_000_000 }] }), signal)
  t.match(part.rlimits, [
    { type: 'RLIMIT_CORE', hard: 0 },
    { type: 'RLIMIT_NOFILE', soft: 4096, hard: 20_000 }
  ])
  t.same(part.notices, ['the limit nofile is 20000 and not 1000000: more this node’s agent may not give'])
  t.same((await isolator.prepare(asked({}), signal)).notices, [], 'what nobody asked for is not told')
  const unlimited = await isolator.prepare(asked({ limits: [{ name: 'nofile', soft: -1, hard: -1 }] }), signal)
  t.match(unlimited, { rlimits: [{}, { soft: 20_000, hard: 20_000 }], notices: [] })
  await t.rejects(isolator.prepare(asked({ limits: [{ name: 'files', soft: 1, hard: 1 }] }), signal), {
    code: 'invalid',
    message: /no process limit "files"/
  })
})

t.test('a device is given by its number, with its accesses and no others', async (t) => {
  const part = await devices.prepare(asked({ devices: [{ path: '/dev/null', target: '/dev/mine', access: 'r' }] }), signal)
  t.match(part.devices, [{ path: '/dev/mine', type: 'c', major: 1, minor: 3, fileMode: 0o666 }])
  t.same(part.deviceRules, [{ allow: true, type: 'c', major: 1, minor: 3, access: 'r' }])
  const refused = (device: object) =>
    devices.prepare(asked({ devices: [{ path: '/dev/null', target: '/d', access: 'r', ...device }] }), signal)
  await t.rejects(refused({ path: '/dev/no-such-thing' }), { code: 'invalid', message: /has no device/ })
  await t.rejects(refused({ path: '/etc/passwd' }), { message: /is no device node/ })
  await t.rejects(refused({ access: 'x' }), { message: /written with r, w and m/ })
  await t.rejects(refused({ target: '../d' }), { message: /write an absolute path/ })
  t.same(numbersOf(0x0801n), { major: 8, minor: 1 })
  // gnu_dev_makedev(0x12345, 0x6789a)
  t.same(numbersOf(0x0001_2000_6783_459an), { major: 0x12345, minor: 0x6789a })
})

t.test('only settings of the container’s own namespaces may be set', async (t) => {
  const set = (name: string, network?: 'host') =>
    kernelSettings.prepare(asked({ settings: [{ name, value: '1' }] }, network), signal)
  t.same(await set('net.core.somaxconn'), { sysctl: { 'net.core.somaxconn': '1' } })
  t.same(await set('kernel.shmmax', 'host'), { sysctl: { 'kernel.shmmax': '1' } })
  await t.rejects(set('net.core.somaxconn', 'host'), { code: 'invalid', message: /--network none/ })
  for (const name of ['kernel.core_pattern', 'vm.swappiness', 'net.ipv4.tcp_mem', 'net.core.rmem_max', 'kernel.hostname'])
    await t.rejects(set(name), { code: 'invalid', message: /belongs to the whole node/ }, name)
  for (const name of ['net/core/somaxconn', '../x', 'net.ipv4..x', ''])
    await t.rejects(set(name), { message: /no kernel setting/ }, name)
})

t.test('paths are hidden besides those that always are', async (t) => {
  const part = await hiddenPaths.prepare(asked({ hiddenPaths: ['/etc/shadow'], readOnlyPaths: ['/srv'] }), signal)
  t.ok(part.maskedPaths?.includes('/proc/kcore') && part.maskedPaths.includes('/etc/shadow'))
  t.ok(part.readonlyPaths?.includes('/proc/sys') && part.readonlyPaths.includes('/srv'))
  for (const path of ['etc', '/', '/a/../../b'])
    await t.rejects(hiddenPaths.prepare(asked({ hiddenPaths: [path] }), signal), { code: 'invalid' })
})

t.test('an AppArmor profile must be loaded', async (t) => {
  const file = join(t.testdir(), 'profiles')
  await t.rejects(apparmor(file).prepare(asked({ apparmor: 'web' }), signal), { message: /has no AppArmor/ })
  t.match(await apparmor(file).capabilities(signal), [{ present: false }])
  writeFileSync(file, 'docker-default (enforce)\nweb (complain)\n')
  t.same(await apparmor(file).prepare(asked({ apparmor: 'web' }), signal), { apparmorProfile: 'web' })
  await t.rejects(apparmor(file).prepare(asked({ apparmor: 'db' }), signal), { message: /loaded no AppArmor profile db/ })
  t.same(await apparmor(file).prepare(asked({}), signal), {})
})
