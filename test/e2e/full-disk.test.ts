import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync, statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { Cluster, eventually } from '../support/cluster.ts'
import { kernelObjectsOf } from '../support/kernel.ts'

t.test('on a full disk tasks can still be ended, told and removed', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'hearth-full-'))
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=300m', 'tmpfs', directory])
  const cluster = new Cluster(join(directory, 's'))
  t.teardown(async () => {
    await cluster.hearth(['down', '--purge'])
    execFileSync('umount', [directory])
    rmSync(directory, { recursive: true, force: true })
  })
  const up = await cluster.hearth(['up', '--http', 'off'])
  t.equal(up.code, 0, up.stderr)
  const run = (...args: string[]) => cluster.hearth(['task', 'run', ...args])
  t.equal((await run('-d', '--name', 'old', 'host', '--', 'sleep', '1000')).code, 0)
  const tidy = 'trap "exit 7" TERM; while :; do sleep 0.1; done'
  t.equal((await run('-d', '--name', 'tidy', 'host', '--', 'sh', '-c', tidy)).code, 0)

  const filled = await run('-d', '--name', 'hog', 'host', '--', 'sh', '-c', 'cat /dev/zero > /sandbox/big; sleep 1000')
  t.equal(filled.code, 0, filled.stderr)
  await eventually(() => (statfsSync(directory).bavail === 0 ? true : undefined))
  // the rest of the disk, to the last byte
  execFileSync('sh', ['-c', 'cat /dev/zero > "$1" || true', 'sh', join(directory, 'rest')], { stdio: 'ignore' })
  // and of the blocks that the daemons' own logs have begun
  const logs = join(cluster.stateDir, 'logs')
  for (const name of readdirSync(logs)) {
    execFileSync('sh', ['-c', 'yes "" >> "$1" || true', 'sh', join(logs, name)], { stdio: 'ignore' })
  }
  const daemons = (['supervisor', 'master', 'agent'] as const).map((name) => cluster.pid(name))

  const folder = t.testdir({ tree: { file: 'x'.repeat(1024 * 1024) } })
  execFileSync('tar', ['-C', join(folder, 'tree'), '-cf', join(folder, 'image.tar'), '.'])
  const imported = await cluster.hearth(['image', 'import', '--name', 'late', join(folder, 'image.tar')])
  t.not(imported.code, 0)
  t.match(imported.stderr, /space|full/)
  t.equal(imported.stderr.trim().split('\n').length, 1, imported.stderr)

  const refused = await run('--rm', 'host', '--', 'true')
  t.not(refused.code, 0, refused.stdout)
  t.match(refused.stderr, /space|full/)

  t.equal((await cluster.hearth(['task', 'kill', 'tidy'])).code, 0)
  await cluster.hearth(['task', 'wait', 'tidy'])
  t.match(await cluster.json(['task', 'show', 'tidy']), { state: 'killed', exitCode: 7 }, 'its exit code found room')
  for (const name of ['old', 'hog']) {
    t.equal((await cluster.hearth(['task', 'kill', '--grace', '0', name])).code, 0, name)
    await cluster.hearth(['task', 'wait', name])
    t.match(await cluster.json(['task', 'show', name]), { state: 'killed' }, name)
  }
  for (const pid of daemons) t.ok(existsSync(`/proc/${pid}`), 'no daemon has ended')
  rmSync(join(directory, 'rest'))
  t.equal((await cluster.hearth(['task', 'rm', 'hog'])).code, 0)
  const again = await run('--rm', 'host', '--', 'echo', 'room again')
  t.equal(again.stdout, 'room again\n', again.stderr)
  t.equal((await cluster.hearth(['down'])).code, 0)
  t.same(
    kernelObjectsOf(cluster.stateDir).filter((o) => !o.startsWith('mount')),
    []
  )
})
