import t, { type Test } from 'tap'
import { completeMessage } from '../../proto/codec.ts'
import { channels } from '../../proto/stream-frame.ts'
import { noContainers, startContainer } from '../support/bundle.ts'
import { localTask, startLocalAgent } from '../support/local-agent.ts'
import { openStream } from '../support/stream-client.ts'
import { buildTerminal } from '../support/terminal-program.ts'
import { until } from '../support/until.ts'

const path = '/v1/tasks/hearth-tasks/one/attach'

interface Setup {
  readonly args: readonly string[]
  readonly terminal: boolean
}

async function attachable(t: Test, setup: Setup) {
  const container = await startContainer({ ...setup, openStdin: true })
  t.teardown(() => container.remove())
  const ended = new AbortController()
  let exitCode: number | undefined
  container.exited.then(
    (code) => {
      exitCode = code
      ended.abort()
    },
    () => undefined
  )
  const { containerId, bundleDir } = container
  const latest = () => completeMessage('TaskStatus', { state: 'finished', ...(exitCode === undefined ? {} : { exitCode }) })
  const task = localTask({ containerId, bundleDir, terminal: setup.terminal, openStdin: true, latest, ended: ended.signal })
  const agent = await startLocalAgent({ tasks: [task], terminalProgram: await buildTerminal(t.testdir()) })
  t.teardown(() => agent.stop())
  return { container, agent, attach: (open: object) => openStream(agent.socketPath, path, open) }
}

t.test('attach to a terminal', { skip: noContainers }, async (t) => {
  const { agent, attach } = await attachable(t, { args: ['sh'], terminal: true })

  t.test('shows output, takes keys and changes the size', async (t) => {
    const s = await attach({ rows: 40, columns: 120 })
    t.equal(s.status, 200)
    s.send(channels.stdin, 'while test "$(stty size)" != "40 120"; do sleep 0.02; done; echo first-$((1 + 1))\n')
    await s.saw('first-2')
    s.sendJson(channels.resize, { rows: 50, columns: 132 })
    s.send(channels.stdin, 'while test "$(stty size)" != "50 132"; do sleep 0.02; done; echo second-$((1 + 1))\n')
    await s.saw('second-2')
    s.cut()
    await until(() => agent.streams.open === 0)
  })

  t.test('serves two at once, and a client that leaves harms nobody', async (t) => {
    const [a, b] = await Promise.all([attach({}), attach({})])
    a.send(channels.stdin, 'echo both-$((3 + 4))\n')
    await Promise.all([a.saw('both-7'), b.saw('both-7')])
    a.cut()
    b.send(channels.stdin, 'echo left-$((3 + 4))\n')
    await b.saw('left-7')
    b.cut()
    await until(() => agent.streams.open === 0)
    t.pass('both have let go')
  })

  t.test('ends with the status of the task', async (t) => {
    const s = await attach({})
    s.send(channels.stdin, 'exit 6\n')
    t.match(await s.end, { status: { state: 'finished', exitCode: 6 } })
    t.equal(agent.streams.open, 0)
  })

  t.test('says so when the container has ended', async (t) => {
    const s = await attach({})
    t.equal(s.status, 409)
    t.match(await s.end, { error: { code: 'conflict', message: /has ended/ } })
    t.equal(agent.streams.open, 0)
  })
})

t.test('attach to standard streams', { skip: noContainers }, async (t) => {
  const { attach } = await attachable(t, {
    args: ['sh', '-c', 'read -r line; echo "$line"; echo err >&2; wc -c; exit 3'],
    terminal: false
  })
  const s = await attach({})
  s.send(channels.stdin, 'hello\n')
  await s.saw('hello')
  await s.saw('err')
  t.equal(s.stdout(), 'hello\n')
  t.equal(s.stderr(), 'err\n')
  s.send(channels.stdin, 'y'.repeat(200_000))
  s.send(channels.stdinEnd, '')
  t.match(await s.end, { status: { exitCode: 3 } })
  t.equal(s.stdout(), 'hello\n200000\n')
})
