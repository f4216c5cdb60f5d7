import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { createContext, OutputClosed } from '../../cli/context.ts'
import { runCommand } from '../../cli/main.ts'
import { serveTask } from './fake-operator.ts'

async function exec(t: Test, end: unknown) {
  const { address } = await serveTask(t, end)
  const streams = { stdin: new PassThrough(), stdout: new PassThrough(), stderr: new PassThrough() }
  const context = createContext({ HEARTH_ADDR: address }, streams, new AbortController().signal)
  const code = await runCommand(['task', 'exec', 'a', '--', 'x'], context)
  return { code, err: await text(streams.stderr.end()) }
}

t.test('exec ends with the code of docker where the program cannot be started, and says why', async (t) => {
  const refusal = (code: string, exitCode: number) => ({ error: { code, message: 'why', detail: { exitCode } } })
  t.strictSame(await exec(t, refusal('invalid', 127)), { code: 127, err: 'hearth: why\n' }, 'it is not there')
  t.strictSame(await exec(t, refusal('invalid', 126)), { code: 126, err: 'hearth: why\n' }, 'it cannot be executed')
  t.strictSame(await exec(t, refusal('conflict', 126)), { code: 73, err: 'hearth: why\n' }, 'the container has ended')
  t.strictSame(await exec(t, { error: { code: 'invalid', message: 'why' } }), { code: 64, err: 'hearth: why\n' })
  t.strictSame(await exec(t, { exitCode: 3 }), { code: 3, err: '' })
})

t.test('a run whose output nobody reads any more is killed, and ends quietly as SIGPIPE ends a program', async (t) => {
  const { address, requests } = await serveTask(t)
  const closed = new AbortController()
  const streams = { stdin: new PassThrough(), stdout: new PassThrough(), stderr: new PassThrough() }
  streams.stdout.once('data', () => closed.abort(new OutputClosed('closed')))
  streams.stdout.resume()
  const context = createContext({ HEARTH_ADDR: address }, streams, closed.signal)
  t.equal(await runCommand(['task', 'run', 'host', 'yes'], context), 141)
  t.equal(await text(streams.stderr.end()), '')
  t.equal(requests.at(-1), 'POST /v1/tasks/a/kill')
})
