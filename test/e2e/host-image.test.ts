import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import t from 'tap'
import { startCluster } from '../support/cluster.ts'

/** Ten places where a host keeps what no task may see; /usr is not among them: it is what the image is for. */
const places = [
  '/root/.ssh/id_hearth_test',
  '/root/.hearth_test_history',
  '/etc/hearth-test-shadow',
  '/etc/ssl/private/hearth-test.key',
  '/etc/ssh/hearth_test_host_key',
  '/home/hearth-test/secret',
  '/var/lib/hearth-test/secret',
  '/opt/hearth-test/secret',
  '/srv/hearth-test/secret',
  '/tmp/hearth-test-secret'
] as const

t.test('the built-in image shows no secret of the host, wherever it lies', async (t) => {
  const mark = `secret-${randomBytes(12).toString('hex')}`
  const made: string[] = []
  t.teardown(() => {
    for (const path of made.reverse()) rmSync(path, { recursive: true, force: true })
  })
  for (const path of places) {
    const fresh: string[] = []
    for (let at = dirname(path); !existsSync(at); at = dirname(at)) fresh.unshift(at)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, mark, { mode: 0o644 })
    made.push(...fresh, path)
  }
  const cluster = await startCluster(t)
  const inside = (script: string) => cluster.hearth(['task', 'run', '--rm', 'host', '--', 'sh', '-c', script])

  for (const path of places) t.equal((await inside(`cat ${path}`)).stdout, '', path)
  t.equal((await inside('cat /etc/shadow /etc/gshadow 2>/dev/null')).stdout, '')
  const searched = await inside(
    `grep -rlsF ${mark.slice(0, 20)} / --exclude-dir=proc --exclude-dir=sys --exclude-dir=usr; echo searched`
  )
  t.equal(searched.stdout, 'searched\n')
  t.equal(
    (await inside('cat /proc/1/root/root/.hearth_test_history /proc/1/cwd/../root/.hearth_test_history 2>/dev/null')).stdout,
    ''
  )

  t.test('and is still a system in which programs of the host run', async (t) => {
    const ran = await inside('id -un && getent passwd root | cut -d: -f1 && ls /usr/bin/env && node --version')
    t.match(ran.stdout, /^root\nroot\n\/usr\/bin\/env\nv\d+/, ran.stderr)
    t.not((await inside('touch /usr/hearth-test')).code, 0, '/usr cannot be written')
    t.not((await inside('mount -t tmpfs none /mnt')).code, 0, 'nothing can be mounted')
  })
})
