import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { execUser } from '../../../agent/local-api/exec-user.ts'
import { localTask } from '../../support/local-agent.ts'

const passwdOf = (name: string, uid: number): string => `${name}:x:${uid}:${uid + 1}::/:/bin/sh\n`

/** A bundle whose root is two layers, the upper one empty, and a writable one. */
function makeBundle(t: Test, runtime: 'runc' | 'crun') {
  const home = mkdtempSync(join(tmpdir(), 'hearth-user-'))
  t.teardown(() => rmSync(home, { recursive: true, force: true }))
  const [top, base, upper, bundleDir] = ['l:1,x', 'base', 'upper', 'bundle'].map((name) => join(home, name)) as [
    string,
    string,
    string,
    string
  ]
  for (const path of [top, join(base, 'etc'), upper, bundleDir]) mkdirSync(path, { recursive: true })
  writeFileSync(join(base, 'etc/passwd'), passwdOf('web', 33))
  writeFileSync(join(base, 'etc/group'), 'web:x:34:\nlogs:x:50:web\n')
  const lower = [top, base].map((path) => path.replace(/[:,]/g, (c) => `\\${c}`)).join(':')
  const options = [`lowerdir=${lower}`, `upperdir=${upper}`, 'workdir=/none']
  const mounts = runtime === 'runc' ? [{ destination: '/', type: 'overlay', source: 'overlay', options }] : []
  writeFileSync(join(bundleDir, 'config.json'), JSON.stringify({ root: { path: join(bundleDir, 'root') }, mounts }))
  if (runtime === 'crun') writeFileSync(join(bundleDir, 'overlay'), `${options.join(',')}\n`)
  return { task: localTask({ bundleDir }), upper, home }
}

for (const runtime of ['runc', 'crun'] as const) {
  t.test(`users come from the image of a ${runtime} container`, async (t) => {
    const { task } = makeBundle(t, runtime)
    t.same(await execUser(task, 'web'), { uid: 33, gid: 34, additionalGids: [50] })
    t.same(await execUser(task, '33:logs'), { uid: 33, gid: 50, additionalGids: [] })
    t.same(await execUser(task, '65534'), { uid: 65534, gid: 0, additionalGids: [] })
    await t.rejects(execUser(task, 'alice'), {
      code: 'invalid',
      message: /"alice"/,
      detail: { reason: 'no_user', exitCode: 126 }
    })
  })
}

t.test('a user that the container added itself is known', async (t) => {
  const { task, upper } = makeBundle(t, 'runc')
  mkdirSync(join(upper, 'etc'))
  writeFileSync(join(upper, 'etc/passwd'), passwdOf('added', 70))
  t.same(await execUser(task, 'added'), { uid: 70, gid: 71, additionalGids: [] })
  await t.rejects(execUser(task, 'web'), { code: 'invalid' })
})

t.test('what a container puts in the place of its files leads nowhere and blocks nobody', async (t) => {
  const { task, upper, home } = makeBundle(t, 'runc')
  writeFileSync(join(home, 'passwd'), passwdOf('outside', 80))
  const web = { uid: 33, gid: 34 }
  symlinkSync(home, join(upper, 'etc'))
  t.match(await execUser(task, 'web'), web, 'a folder that is a link')
  await t.rejects(execUser(task, 'outside'), { code: 'invalid' })
  rmSync(join(upper, 'etc'))
  mkdirSync(join(upper, 'etc'))
  symlinkSync(join(home, 'passwd'), join(upper, 'etc/passwd'))
  t.match(await execUser(task, 'web'), web, 'a link')
  rmSync(join(upper, 'etc/passwd'))
  execFileSync('mkfifo', [join(upper, 'etc/passwd')])
  t.match(await execUser(task, 'web'), web, 'a fifo')
  rmSync(join(upper, 'etc/passwd'))
  writeFileSync(join(upper, 'etc/passwd'), Buffer.alloc(4 * 1024 * 1024 + 1))
  await t.rejects(execUser(task, 'web'), { code: 'invalid', message: /larger than/ })
})
