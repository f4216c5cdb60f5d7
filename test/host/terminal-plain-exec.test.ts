import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { channels } from '../../proto/stream-frame.ts'
import { noContainers, startContainer } from '../support/bundle.ts'
import { execCommandOf, localTask, startLocalAgent } from '../support/local-agent.ts'
import { openStream } from '../support/stream-client.ts'
import { until } from '../support/until.ts'

const path = '/v1/tasks/hearth-tasks/one/exec'

t.test('exec without a terminal', { skip: noContainers }, async (t) => {
  const container = await startContainer({ args: ['sleep', '1000'] })
  t.teardown(() => container.remove())
  const task = localTask({ containerId: container.containerId, bundleDir: container.bundleDir })
  const agent = await startLocalAgent({ tasks: [task], execCommand: execCommandOf(container) })
  t.teardown(() => agent.stop())
  const exec = (open: object) => openStream(agent.socketPath, path, open)
  const leftPidFiles = () => readdirSync(container.bundleDir).filter((name) => name.startsWith('exec-'))

  t.test('streams stdout and stderr apart and ends with the exit code', async (t) => {
    const s = await exec({ arguments: ['sh', '-c', 'echo out; echo err >&2; exit 7'] })
    t.same(await s.end, { exitCode: 7 })
    t.equal(s.stdout(), 'out\n')
    t.equal(s.stderr(), 'err\n')
    t.same(leftPidFiles(), [])
  })

  t.test('lets the program open its standard streams by name', async (t) => {
    const s = await exec({ arguments: ['sh', '-c', 'echo a > /dev/stdout; echo b > /dev/stderr'] })
    t.same(await s.end, { exitCode: 0 })
    t.equal(s.stdout() + s.stderr(), 'a\nb\n')
  })

  t.test('hands on standard input and its end', async (t) => {
    const s = await exec({ arguments: ['wc', '-c'], openStdin: true })
    for (let i = 0; i < 40; i += 1) s.send(channels.stdin, Buffer.alloc(100_000, 'x'))
    s.send(channels.stdinEnd, '')
    t.same(await s.end, { exitCode: 0 })
    t.equal(s.stdout().trim(), '4000000')
  })

  t.test('gives an empty standard input unless asked for', async (t) => {
    const s = await exec({ arguments: ['wc', '-c'] })
    t.same(await s.end, { exitCode: 0 })
    t.equal(s.stdout().trim(), '0')
  })

  t.test('sets environment, working directory and user', async (t) => {
    const s = await exec({
      arguments: ['sh', '-c', 'echo $A; pwd; id -u; id -g'],
      environment: [{ name: 'A', value: 'x y' }],
      workingDirectory: '/tmp',
      user: '12:34'
    })
    t.same(await s.end, { exitCode: 0 })
    t.equal(s.stdout(), 'x y\n/tmp\n12\n34\n')
  })

  t.test('knows the users of the container by name and number, with their groups', async (t) => {
    const etc = join(container.bundleDir, 'rootfs/etc')
    writeFileSync(join(etc, 'passwd'), 'root:x:0:0::/:/bin/sh\nweb:x:33:34::/home/web:/bin/sh\n')
    writeFileSync(join(etc, 'group'), 'root:x:0:\nweb:x:34:\nlogs:x:50:web\n')
    const seen = [
      ['web', '33 34 34 50 /home/web'],
      ['33', '33 34 34 50 /home/web'],
      ['web:logs', '33 50 50 /home/web'],
      ['65534', '65534 0 0 /']
    ] as const
    for (const [user, ids] of seen) {
      const s = await exec({ arguments: ['sh', '-c', 'echo $(id -u) $(id -g) $(id -G) $HOME'], user })
      t.same(await s.end, { exitCode: 0 }, user)
      t.equal(s.stdout(), `${ids}\n`, user)
    }
    const nobody = await exec({ arguments: ['true'], user: 'alice' })
    t.match(await nobody.end, { error: { code: 'invalid', message: /"alice"/, detail: { reason: 'no_user', exitCode: 126 } } })
    t.same(leftPidFiles(), [])
  })

  t.test('says that a program is not there, with the code of shells', async (t) => {
    const s = await exec({ arguments: ['no-such-program'] })
    t.match(await s.end, { error: { code: 'invalid', detail: { reason: 'program_not_found', exitCode: 127 } } })
    t.equal(s.stderr(), '')
    const absolute = await exec({ arguments: ['/no/such'] })
    t.match(await absolute.end, { error: { detail: { reason: 'program_not_found', exitCode: 127 } } })
  })

  t.test('says that a file is not a program', async (t) => {
    const s = await exec({ arguments: ['/etc/not-a-program'] })
    t.match(await s.end, { error: { code: 'invalid', detail: { reason: 'program_not_executable', exitCode: 126 } } })
    const folder = await exec({ arguments: ['/tmp'] })
    t.match(await folder.end, { error: { code: 'invalid', detail: { reason: 'program_not_executable', exitCode: 126 } } })
  })

  t.test('keeps the end of a program whose own words look like the runtime', async (t) => {
    const s = await exec({ arguments: ['sh', '-c', 'echo "executable file not found" >&2; exit 255'] })
    t.same(await s.end, { exitCode: 255 })
    t.equal(s.stderr(), 'executable file not found\n')
  })

  t.test('sends signals to the program', async (t) => {
    const s = await exec({
      arguments: ['sh', '-c', 'trap "echo caught; exit 5" INT; echo ready; while true; do sleep 0.05; done']
    })
    await s.saw('ready')
    s.sendJson(channels.signal, { signal: 'SIGINT' })
    t.same(await s.end, { exitCode: 5 })
    const killed = await exec({ arguments: ['sleep', '999'] })
    killed.sendJson(channels.signal, { signal: 'SIGKILL' })
    t.same(await killed.end, { exitCode: 137 })
  })

  t.test('ends with the reason where the client sends what clients do not send', async (t) => {
    const s = await exec({ arguments: ['sleep', '998'] })
    s.sendJson(channels.signal, { signal: 'SIGNONE' })
    t.match(await s.end, { error: { code: 'invalid', message: /SIGNONE/ } })
    const odd = await exec({ arguments: ['sleep', '998'] })
    odd.send(channels.stdout, 'x')
    t.match(await odd.end, { error: { code: 'invalid' } })
  })

  t.test('loses nothing of much output to a slow reader', async (t) => {
    const s = await exec({ arguments: ['sh', '-c', 'head -c 20000000 /dev/zero; head -c 1000000 /dev/zero >&2'] })
    t.same(await s.end, { exitCode: 0 })
    t.equal(s.stdout().length, 20_000_000)
    t.equal(s.stderr().length, 1_000_000)
  })

  t.test('runs ten at once', async (t) => {
    const all = await Promise.all(
      Array.from({ length: 10 }, async (_, i) => {
        const s = await exec({ arguments: ['sh', '-c', `echo ${i}; exit ${i}`] })
        return [await s.end, s.stdout()]
      })
    )
    t.same(
      all,
      Array.from({ length: 10 }, (_, i) => [{ exitCode: i }, `${i}\n`])
    )
    t.equal(agent.streams.open, 0)
  })

  t.test('ends the program when the client goes away, even one that does not listen', async (t) => {
    const s = await exec({
      arguments: ['sh', '-c', 'trap "" TERM HUP; echo "pid $(cat /proc/self/stat)"; while true; do sleep 0.05; done']
    })
    await s.saw('pid')
    t.ok(container.programs().length > 0, 'it runs')
    s.cut()
    await until(() => agent.streams.open === 0)
    await until(() => container.programs().length === 0)
    t.same(leftPidFiles(), [])
  })

  t.test('refuses before anything runs', async (t) => {
    const bad = await exec({ arguments: [] })
    t.equal(bad.status, 400)
    t.match(await bad.end, { error: { code: 'invalid' } })
    const name = await exec({ arguments: ['true'], user: 'alice' })
    t.equal(name.status, 400)
    const big = await exec({ arguments: ['true', 'x'.repeat(200_000)] })
    t.match(await big.end, { error: { code: 'invalid', message: /^arguments\[1\] is longer than the kernel takes/ } })
    t.same(leftPidFiles(), [])
    t.equal(agent.streams.open, 0)
  })
})

t.test('execs beyond the limit are refused', { skip: noContainers }, async (t) => {
  const container = await startContainer({ args: ['sleep', '1000'] })
  t.teardown(() => container.remove())
  const task = localTask({ containerId: container.containerId, bundleDir: container.bundleDir })
  const agent = await startLocalAgent({ tasks: [task], execCommand: execCommandOf(container), maxStreams: 1 })
  t.teardown(() => agent.stop())
  const first = await openStream(agent.socketPath, path, { arguments: ['cat'], openStdin: true })
  const second = await openStream(agent.socketPath, path, { arguments: ['true'] })
  t.equal(second.status, 429)
  t.match(await second.end, { error: { code: 'exhausted' } })
  first.close()
  t.same(await first.end, { exitCode: 0 })
})

t.test('a task that has ended takes no exec', async (t) => {
  const ended = localTask({ taskId: 'over', ended: AbortSignal.abort() })
  const agent = await startLocalAgent({
    tasks: [localTask({ state: 'removed' }), ended, localTask({ taskId: 'soon', state: 'stopping' })]
  })
  t.teardown(() => agent.stop())
  const said = [
    ['one', 'task one has ended'],
    ['over', 'task over has ended'],
    ['soon', 'task soon is stopping, not running']
  ]
  for (const [id, message] of said) {
    const s = await openStream(agent.socketPath, `/v1/tasks/hearth-tasks/${id}/exec`, { arguments: ['true'] })
    t.equal(s.status, 409)
    t.match(await s.end, { error: { code: 'conflict', message } })
  }
})
