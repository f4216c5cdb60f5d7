import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import t from 'tap'
import { channels, encodeStreamFrame, encodeStreamJson, StreamFrameDecoder } from '../../proto/stream-frame.ts'
import { noContainers, startContainer } from '../support/bundle.ts'
import { buildTerminal } from '../support/terminal-program.ts'
import { until } from '../support/until.ts'

type Child = ChildProcessByStdio<Writable, Readable, null>

/** Starts the terminal program as the agent does; resolves when it is connected and has said `text`. */
async function startUntil(program: readonly string[], mode: string, order: object, text: string): Promise<Child> {
  const [file = '', ...args] = program
  const child: Child = spawn(file, [...args, mode], { stdio: ['pipe', 'pipe', 'inherit'] })
  child.stdin.write(encodeStreamJson(channels.open, order))
  const decoder = new StreamFrameDecoder()
  let said = ''
  child.stdout.on('data', (chunk: Buffer) => {
    for (const { channel, data } of decoder.push(chunk)) {
      if (channel === channels.progress) child.stdin.write(encodeStreamFrame(channels.stdin, Buffer.from('echo up-$((1 + 1))\n')))
      if (channel === channels.stdout) said += Buffer.from(data).toString()
    }
  })
  await until(() => said.includes(text))
  return child
}

/** What the terminal program sees when the agent is killed: both pipes break at once. */
function breakPipes(child: Child): Promise<unknown> {
  const exited = once(child, 'exit')
  child.stdin.destroy()
  child.stdout.destroy()
  return exited
}

t.test('the agent dies while a terminal is open', { skip: noContainers }, async (t) => {
  const container = await startContainer({ args: ['sh'], terminal: true, openStdin: true })
  t.teardown(() => container.remove())
  const program = await buildTerminal(t.testdir())
  const { containerId, bundleDir } = container
  const order = {
    command: container.execCommand([], []).slice(0, 4),
    containerId,
    bundleDir,
    pidFile: join(bundleDir, 'exec-1.pid'),
    arguments: ['sh', '-c', 'trap "" HUP; sh; while true; do echo noise; sleep 0.02; done'],
    environment: [],
    workingDirectory: ''
  }

  t.test('exec ends its program, even one that does not listen', async (t) => {
    const child = await startUntil(program, 'exec', order, 'up-2')
    t.ok(container.programs().length > 0)
    await breakPipes(child)
    await until(() => container.programs().length === 0)
    t.same(
      readdirSync(bundleDir).filter((name) => name.startsWith('exec-')),
      ['exec-1.pid'],
      'only what the agent removes'
    )
  })

  t.test('attach lets go and the container runs on', async (t) => {
    const attach = { socketPath: join(bundleDir, containerId, 'attach'), ctlPath: join(bundleDir, 'ctl') }
    await breakPipes(await startUntil(program, 'attach', attach, 'up-2'))
    await breakPipes(await startUntil(program, 'attach', attach, 'up-2'))
    t.pass('and takes the next one')
  })
})
