import t from 'tap'
import { startCluster } from '../support/cluster.ts'
import { kernelObjectsOf } from '../support/kernel.ts'

type Tasks = readonly {
  readonly taskId: string
  readonly name: string
  readonly state: string
  readonly exitCode: number | null
  readonly reason: string | null
}[]

t.test('task run behaves as a person who knows docker run expects', async (t) => {
  const cluster = await startCluster(t)
  const run = (...args: string[]) => cluster.hearth(['task', 'run', ...args])

  t.test('output goes where the program wrote it, and its exit code is the command’s', async (t) => {
    const ran = await run('--rm', 'host', '--', 'sh', '-c', 'echo out; echo err >&2; exit 7')
    t.strictSame({ ...ran }, { code: 7, stdout: 'out\n', stderr: 'err\n' })
  })

  t.test('output without a newline and binary output come through byte for byte', async (t) => {
    t.equal((await run('--rm', 'host', '--', 'printf', 'no newline')).stdout, 'no newline')
    const ran = await run('--rm', 'host', '--', 'sh', '-c', 'head -c 300000 /dev/zero | tr "\\0" "a"; echo; echo end')
    t.equal(ran.stdout, `${'a'.repeat(300_000)}\nend\n`)
  })

  t.test('--rm leaves no task, a task without it stays to be looked at', async (t) => {
    await run('--rm', '--name', 'gone', 'host', '--', 'true')
    await run('--name', 'kept', 'host', '--', 'sh', '-c', 'echo remembered; exit 3')
    const tasks = await cluster.json<Tasks>(['task', 'list', '--all'])
    t.notOk(tasks.some((x) => x.name === 'gone'))
    t.match(
      tasks.find((x) => x.name === 'kept'),
      { state: 'failed', exitCode: 3, reason: 'exited' }
    )
    t.equal((await cluster.hearth(['task', 'logs', 'kept'])).stdout, 'remembered\n')
    t.match(await cluster.hearth(['task', 'wait', 'kept']), { code: 0, stdout: '3\n' })
    t.equal((await cluster.hearth(['task', 'rm', 'kept'])).code, 0)
    t.equal((await cluster.hearth(['task', 'show', 'kept'])).code, 66)
  })

  t.test('the log of a removed task can still be read, but for one that asked to go with it', async (t) => {
    const logs = await cluster.hearth(['task', 'logs', 'kept'])
    t.strictSame({ ...logs }, { code: 0, stdout: 'remembered\n', stderr: '' })
    t.equal((await cluster.hearth(['task', 'logs', '--tail', '1', '--follow', 'kept'])).stdout, 'remembered\n')
    const none = await cluster.hearth(['task', 'logs', 'gone'])
    t.match(none, { code: 66, stderr: /there is no task named gone, and no connected node keeps a log of one/ })
    const again = await run('--rm', '--name', 'kept', 'host', '--', 'echo', 'anew')
    t.equal(again.stdout, 'anew\n', 'the name is free')
    t.equal((await cluster.hearth(['node', 'fsck'])).code, 0, 'what is kept is owned')
  })

  t.test('environment, working directory, user and labels reach the program and the record', async (t) => {
    const ran = await run(
      '--rm',
      '-e',
      'COLOUR=blue green',
      '-w',
      '/tmp',
      '-u',
      '65534:65534',
      'host',
      '--',
      'sh',
      '-c',
      'echo $COLOUR; pwd; id -u'
    )
    t.equal(ran.stdout, 'blue green\n/tmp\n65534\n', ran.stderr)
    await run('-d', '--name', 'labelled', '--label', 'tier=web', 'host', '--', 'sleep', '100')
    t.match(await cluster.json(['task', 'show', 'labelled']), { labels: { tier: 'web' }, state: /staging|starting|running/ })
    t.equal((await cluster.hearth(['task', 'kill', 'labelled'])).code, 0)
    t.match((await cluster.hearth(['task', 'wait', 'labelled'])).stdout, /^1\d\d\n$/)
  })

  t.test('walls stand as asked for, within the policy of the tenant', async (t) => {
    const walled = [
      '--rm',
      '--role',
      'shop',
      '--network',
      'none',
      '--user',
      '1000',
      '--read-only',
      '--tmp',
      '1m',
      '--cap-add',
      'NET_RAW'
    ]
    const script =
      'touch /x 2>/dev/null || echo read-only; touch /tmp/x "$HEARTH_SANDBOX/x" && grep CapEff /proc/self/status; ulimit -n'
    const again = () => run(...walled, '--ulimit', 'nofile=99:99', 'host', '--', 'sh', '-c', script)
    t.match(await again(), { code: 77, stdout: '', stderr: /may not add CAP_NET_RAW, only none; no policy of its own allows it/ })
    t.match(await cluster.hearth(['tenant', 'set', 'shop', '--cap', 'net_raw', '--require', 'non-root']), {
      code: 0,
      stdout: /Required walls:? +non-root/
    })
    t.strictSame({ ...(await again()) }, { code: 0, stdout: 'read-only\nCapEff:\t0000000000002000\n99\n', stderr: '' })
    t.match(await run('--rm', '--role', 'shop/web', 'host', '--', 'id'), {
      stderr: /must run as a user other than root; so says the policy of tenant shop/
    })
    t.match(await cluster.json(['tenant', 'list']), [{ role: 'shop', capabilities: ['CAP_NET_RAW'], required: ['non-root'] }])
    t.match(await cluster.json(['tenant', 'show', 'shop/web']), { role: 'shop/web', from: 'shop' })
    t.match(await cluster.hearth(['tenant', 'set', 'shop']), { code: 64, stderr: /say what to set/ })
    t.equal((await cluster.hearth(['tenant', 'rm', 'shop'])).code, 0)
    t.match(await cluster.hearth(['tenant', 'rm', 'shop']), { code: 66 })
  })

  t.test('a task with a user namespace is root of its own ids alone, and keeps what the other one has', async (t) => {
    const script = 'id -u; tr -s " " < /proc/self/uid_map; echo x > /root/x && stat -c %u /root/x; echo y > /dev/stdout'
    for (const runtime of ['runc', 'crun']) {
      const own = ['--rm', '--user-namespace', '--runtime', runtime, '--network', 'host', 'host']
      const ran = await run(...own, '--', 'sh', '-c', script)
      t.strictSame({ ...ran }, { code: 0, stdout: '0\n 0 1879048192 65536\n0\ny\n', stderr: '' }, runtime)
    }
    await run('--name', 'own', '--user-namespace', 'host', '--', 'true')
    t.match((await cluster.hearth(['task', 'show', 'own'])).stdout, /Walls:? +user namespace/)
    t.equal((await cluster.hearth(['task', 'rm', 'own'])).code, 0)
    t.match(await run('--rm', '--user-namespace', '-v', '/tmp:/t', 'host', '--', 'true'), {
      code: 64,
      stderr: /mount.idmap.runc/
    })
    t.match((await cluster.hearth(['node', 'isolators'])).stdout, /mount.idmap.runc +no +runc/)
    t.match((await cluster.hearth(['image', 'show', 'host'])).stdout, /Views:? +1 of its layers for user namespaces/)
    t.equal((await cluster.hearth(['node', 'fsck'])).code, 0, 'the view is owned')
  })

  t.test('a running task takes a second program, and its files can be listed and copied', async (t) => {
    await run('-d', '--name', 'box', 'host', '--', 'sh', '-c', 'echo data > /sandbox/file; sleep 1000')
    const exec = await cluster.hearth([
      'task',
      'exec',
      'box',
      '--',
      'sh',
      '-c',
      'until [ -s /sandbox/file ]; do :; done; cat /sandbox/file; exit 9'
    ])
    t.strictSame({ ...exec }, { code: 9, stdout: 'data\n', stderr: '' })
    const piped = await cluster.hearth(['task', 'exec', '-i', 'box', '--', 'tr', 'a-z', 'A-Z'], { input: 'shout\n' })
    t.equal(piped.stdout, 'SHOUT\n', piped.stderr)
    t.match((await cluster.hearth(['task', 'files', 'box'])).stdout, /file/)
    const copied = t.testdir()
    t.equal((await cluster.hearth(['task', 'cp', 'box:file', copied])).code, 0)
    t.equal((await cluster.hearth(['task', 'rm', 'box'])).code, 73, 'a running task is not removed')
    t.equal((await cluster.hearth(['task', 'rm', '--force', 'box'])).code, 0)
  })

  t.test('each mistake gets one sentence and its exit code', async (t) => {
    const cases: readonly (readonly [string, readonly string[], number, RegExp])[] = [
      ['an unknown image', ['--rm', 'no-such-image', '--', 'true'], 125, /no-such-image/],
      ['a program that does not exist', ['--rm', 'host', '--', '/no/such/program'], 127, /\/no\/such\/program/],
      ['a program that cannot be executed', ['--rm', 'host', '--', '/etc/passwd'], 126, /\/etc\/passwd/],
      ['more CPU than any node has', ['--rm', '--cpus', '4000', 'host', '--', 'true'], 64, /cpus/],
      ['more memory than any node has', ['--rm', '--memory', '900t', 'host', '--', 'true'], 64, /mem/],
      ['memory below what starts', ['--rm', '--memory', '300k', 'host', '--', 'true'], 64, /a memory limit is at least 4 MiB/],
      ['a published port', ['--rm', '-p', '80:80', 'host', '--', 'true'], 64, /address/],
      [
        'a host folder that the operator does not allow',
        ['--rm', '-v', '/root:/x', 'host', '--', 'true'],
        125,
        /HEARTH_ALLOW_MOUNT=\/root hearth up/
      ],
      ['a size that is none', ['--rm', '--memory', 'lots', 'host', '--', 'true'], 64, /lots/],
      ['a name with a slash', ['--rm', '--name', 'a/b', 'host', '--', 'true'], 64, /letters/]
    ]
    for (const [what, args, code, message] of cases) {
      const ran = await run(...args)
      t.equal(ran.code, code, `${what}: ${ran.stderr}`)
      t.match(ran.stderr, message, what)
      t.equal(ran.stderr.trim().split('\n').length, 1, `${what}: ${ran.stderr}`)
    }
    await run('-d', '--name', 'taken', 'host', '--', 'sleep', '1000')
    const twice = await run('-d', '--name', 'taken', 'host', '--', 'true')
    t.equal(twice.code, 73)
    t.match(twice.stderr, /taken/)
    await cluster.hearth(['task', 'rm', '--force', 'taken'])
    const tasks = await cluster.json<Tasks>(['task', 'list', '--all'])
    t.same(
      tasks.filter((x) => !['failed', 'finished', 'killed'].includes(x.state)),
      [],
      'nothing hangs about'
    )
  })

  t.test('an environment of 10 MB is refused with a sentence, and the cluster goes on', async (t) => {
    const directory = t.testdir({ env: `BIG=${'x'.repeat(10 * 1024 * 1024)}\n` })
    const ran = await run('--rm', '--env-file', `${directory}/env`, 'host', '--', 'true')
    t.ok(ran.code > 0)
    t.equal(ran.stderr.trim().split('\n').length, 1, ran.stderr.slice(0, 300))
    t.equal((await run('--rm', 'host', '--', 'true')).code, 0)
  })

  t.test('a task that ignores SIGTERM is ended after its grace', async (t) => {
    await run('-d', '--name', 'stubborn', 'host', '--', 'sh', '-c', 'trap "" TERM; echo ready; while :; do sleep 1; done')
    const killed = await cluster.hearth(['task', 'kill', '--grace', '200ms', 'stubborn'])
    t.equal(killed.code, 0, killed.stderr)
    t.equal((await cluster.hearth(['task', 'wait', 'stubborn'])).stdout, '137\n')
    t.match(await cluster.json(['task', 'show', 'stubborn']), { state: 'killed', reason: 'kill_requested' })
  })

  t.test('a fork bomb stays within its limit and the host answers', async (t) => {
    const ran = await run(
      '--rm',
      '--memory',
      '128m',
      '--cpus',
      '0.5',
      'host',
      '--',
      'sh',
      '-c',
      'i=0; while [ $i -lt 6000 ]; do sleep 100 & i=$((i+1)); done'
    )
    t.not(ran.code, 0)
    t.equal((await run('--rm', 'host', '--', 'true')).code, 0)
  })

  t.test('what is over its memory limit is told to be', async (t) => {
    await run(
      '--name',
      'greedy',
      '--memory',
      '32m',
      'host',
      '--',
      'sh',
      '-c',
      'x=$(head -c 200000000 /dev/zero | tr "\\0" a); echo $x | wc -c'
    )
    t.match(await cluster.json(['task', 'show', 'greedy']), { state: 'failed', reason: 'limit_memory' })
  })

  t.test('when all is removed, only the daemons are left in the kernel', async (t) => {
    const tasks = await cluster.json<Tasks>(['task', 'list', '--all'])
    for (const task of tasks) await cluster.hearth(['task', 'rm', '--force', task.taskId])
    const left = kernelObjectsOf(cluster.stateDir).filter(
      (o) => !/master|agent|supervise|^directory/.test(o) && !/^cgroup .*\/hearth-[0-9a-f]{8}$/.test(o)
    )
    t.same(left, [])
  })
})
