import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { channels } from '../../proto/stream-frame.ts'
import { noContainers, startContainer } from '../support/bundle.ts'
import { execCommandOf, localTask, startLocalAgent } from '../support/local-agent.ts'
import { openStream } from '../support/stream-client.ts'
import { buildTerminal } from '../support/terminal-program.ts'
import { until } from '../support/until.ts'

const path = '/v1/tasks/hearth-tasks/one/exec'

t.test('exec with a terminal', { skip: noContainers }, async (t) => {
  const container = await startContainer({ args: ['sleep', '1000'] })
  t.teardown(() => container.remove())
  const terminalProgram = await buildTerminal(t.testdir())
  const task = localTask({ containerId: container.containerId, bundleDir: container.bundleDir })
  const agent = await startLocalAgent({ tasks: [task], execCommand: execCommandOf(container), terminalProgram })
  t.teardown(() => agent.stop())
  const exec = (open: object) => openStream(agent.socketPath, path, { terminal: true, ...open })

  t.test('has the size that was asked for and ends with the exit code', async (t) => {
    const s = await exec({ arguments: ['sh', '-c', 'stty size; tty; exit 3'], rows: 33, columns: 101 })
    t.same(await s.end, { exitCode: 3 })
    t.match(s.stdout(), /^33 101\r\n\/dev\/pts\/\d+\r\n$/)
  })

  t.test('passes keys in and changes its size', async (t) => {
    const s = await exec({ arguments: ['sh'], rows: 24, columns: 80 })
    s.send(channels.stdin, 'echo mark-$((40 + 2))\n')
    await s.saw('mark-42')
    s.sendJson(channels.resize, { rows: 50, columns: 132 })
    s.send(channels.stdin, 'while test "$(stty size)" != "50 132"; do sleep 0.02; done; echo resized-$((1 + 1))\n')
    await s.saw('resized-2')
    s.send(channels.stdin, 'exit 9\n')
    t.same(await s.end, { exitCode: 9 })
  })

  t.test('turns the interrupt key into a signal', async (t) => {
    const s = await exec({
      arguments: ['sh', '-c', 'trap "echo caught; exit 4" INT; echo ready; while true; do sleep 0.02; done']
    })
    await s.saw('ready')
    s.send(channels.stdin, '\x03')
    t.same(await s.end, { exitCode: 4 })
  })

  t.test('sends named signals to the program', async (t) => {
    const s = await exec({ arguments: ['sh', '-c', 'echo ready; sleep 999'] })
    await s.saw('ready')
    s.sendJson(channels.signal, { signal: 'SIGKILL' })
    t.same(await s.end, { exitCode: 137 })
  })

  t.test('ends with the reason where the client sends what clients do not send', async (t) => {
    const s = await exec({ arguments: ['sh', '-c', 'echo ready; sleep 999'] })
    await s.saw('ready')
    s.sendJson(channels.signal, { signal: 'SIGNONE' })
    t.match(await s.end, { error: { code: 'invalid', message: /SIGNONE/ } })
  })

  t.test('keeps the exit code of a program that closed its terminal and is typed to', async (t) => {
    const off = join(container.bundleDir, 'rootfs/off')
    const s = await exec({
      arguments: ['sh', '-c', 'echo ready; exec <&- >&- 2>&-; : > /off; while ! test -e /go; do sleep 0.02; done; exit 7']
    })
    await s.saw('ready')
    await until(() => existsSync(off))
    s.send(channels.stdin, 'into the void\n')
    writeFileSync(join(container.bundleDir, 'rootfs/go'), '')
    t.same(await s.end, { exitCode: 7 })
  })

  t.test('says that a program is not there, with the code of shells', async (t) => {
    const s = await exec({ arguments: ['no-such-program'] })
    t.equal(s.status, 200)
    t.match(await s.end, { error: { code: 'invalid', detail: { reason: 'program_not_found', exitCode: 127 } } })
    t.equal(s.stdout(), '')
    const text = await exec({ arguments: ['/etc/not-a-program'] })
    t.match(await text.end, { error: { code: 'invalid', detail: { reason: 'program_not_executable', exitCode: 126 } } })
  })

  t.test('knows the users of the container by name, with their groups', async (t) => {
    const etc = join(container.bundleDir, 'rootfs/etc')
    writeFileSync(join(etc, 'passwd'), 'web:x:33:34::/home/web:/bin/sh\n')
    writeFileSync(join(etc, 'group'), 'web:x:34:\nlogs:x:50:web\n')
    const s = await exec({ arguments: ['sh', '-c', 'echo $(id -u) $(id -g) $(id -G) $TERM'], user: 'web' })
    t.same(await s.end, { exitCode: 0 })
    t.equal(s.stdout(), '33 34 34 50 xterm\r\n')
  })

  t.test('loses nothing of much output', async (t) => {
    const s = await exec({ arguments: ['sh', '-c', 'stty -opost; yes 0123456789abcde | head -c 8000000'] })
    t.same(await s.end, { exitCode: 0 })
    t.equal(s.stdout().length, 8_000_000)
  })

  t.test('ends with its program, even where a daemon keeps the terminal open', async (t) => {
    const s = await exec({ arguments: ['sh', '-c', '(trap "" HUP; sleep 3) & echo left; exit 2'] })
    t.same(await s.end, { exitCode: 2 })
    t.match(s.stdout(), 'left')
    await until(() => container.programs().length === 0)
  })

  t.test('takes more input than a terminal holds, as the program reads it', async (t) => {
    const s = await exec({ arguments: ['sh', '-c', 'stty raw -echo; echo ready; head -c 1000000 | wc -c'] })
    await s.saw('ready')
    for (let i = 0; i < 10; i += 1) s.send(channels.stdin, Buffer.alloc(100_000, 'x'))
    t.same(await s.end, { exitCode: 0 })
    t.match(s.stdout(), '1000000')
  })

  t.test('runs ten at once', async (t) => {
    const ends = await Promise.all(
      Array.from({ length: 10 }, async (_, i) => (await exec({ arguments: ['sh', '-c', `tty; exit ${i}`] })).end)
    )
    t.same(
      ends,
      Array.from({ length: 10 }, (_, i) => ({ exitCode: i }))
    )
  })

  t.test('hangs up when the client goes away, and leaves nothing', async (t) => {
    const s = await exec({ arguments: ['sh'] })
    s.send(channels.stdin, 'echo up-$((1 + 1))\n')
    await s.saw('up-2')
    s.cut()
    await until(() => agent.streams.open === 0 && container.programs().length === 0)
    const deaf = await exec({ arguments: ['sh', '-c', 'trap "" HUP TERM INT; echo deaf; while true; do sleep 0.02; done'] })
    await deaf.saw('deaf')
    deaf.cut()
    await until(() => agent.streams.open === 0 && container.programs().length === 0)
    const full = await exec({ arguments: ['sh', '-c', 'stty raw; trap "" HUP; echo full; while true; do sleep 0.02; done'] })
    await full.saw('full')
    full.send(channels.stdin, Buffer.alloc(200_000, 'x'))
    full.cut()
    await until(() => agent.streams.open === 0 && container.programs().length === 0)
    t.same(
      readdirSync(container.bundleDir).filter((name) => name.startsWith('exec-')),
      []
    )
  })
})

t.test('a terminal program that is broken is an error before the stream begins', async (t) => {
  const task = localTask({ bundleDir: t.testdir() })
  const agent = await startLocalAgent({ tasks: [task], terminalProgram: ['/bin/false'] })
  t.teardown(() => agent.stop())
  const s = await openStream(agent.socketPath, path, { terminal: true, arguments: ['true'] })
  t.equal(s.status, 503)
  t.match(await s.end, { error: { code: 'unavailable' } })
  t.equal(agent.streams.open, 0)
})
