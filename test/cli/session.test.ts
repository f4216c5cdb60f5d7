import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { Fault } from '../../base/fault.ts'
import { createContext } from '../../cli/context.ts'
import { holdRun, holdSession } from '../../cli/session.ts'
import { channels, StreamFrameDecoder } from '../../proto/stream-frame.ts'
import type { StreamPart } from '../../sdk/stream.ts'

function terminal() {
  const streams = { stdin: new PassThrough(), stdout: new PassThrough(), stderr: new PassThrough() }
  return { streams, context: createContext({}, streams, new AbortController().signal) }
}

const ended: StreamPart = { kind: 'end', ending: { exitCode: 4 } }

/** Gives back what it is sent, until standard input is at its end. */
async function* echo(input: AsyncIterable<Uint8Array>): AsyncGenerator<StreamPart> {
  const decoder = new StreamFrameDecoder()
  for await (const chunk of input) {
    for (const frame of decoder.push(chunk)) {
      if (frame.channel === channels.stdin) yield { kind: 'stdout', data: frame.data }
      if (frame.channel === channels.open) yield { kind: 'stderr', data: frame.data }
      if (frame.channel === channels.stdinEnd) return yield ended
    }
  }
}

t.test('a session sends what it opens first, then standard input and its end', async (t) => {
  const { streams, context } = terminal()
  streams.stdin.end('hello')
  const plan = { open: { a: 1 }, terminal: false, withInput: true, detachHint: '' }
  const ending = await holdSession(context, { ...plan, connect: async (input) => echo(input) })
  t.strictSame(ending, { exitCode: 4 })
  t.equal(await text(streams.stdout.end()), 'hello')
  t.equal(await text(streams.stderr.end()), '{"a":1}')
})

t.test('a session without input tells its end at once', async (t) => {
  const { context } = terminal()
  const plan = { open: {}, terminal: false, withInput: false, detachHint: '' }
  t.strictSame(await holdSession(context, { ...plan, connect: async (input) => echo(input) }), { exitCode: 4 })
})

t.test('the detach keys end a session on a terminal and leave the hint', async (t) => {
  const { streams, context } = terminal()
  const plan = { open: {}, terminal: true, withInput: true, detachHint: 'it runs on' }
  const connect = async (input: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<AsyncIterable<StreamPart>> => {
    streams.stdin.write('a\u0010')
    streams.stdin.write('\u0011')
    return stopBy(echo(input), signal)
  }
  t.equal(await holdSession(context, { ...plan, connect }), 'detached')
  t.match(await text(streams.stderr.end()), /it runs on\n$/)
})

async function* stopBy(parts: AsyncIterable<StreamPart>, signal: AbortSignal): AsyncGenerator<StreamPart> {
  const stopped = new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)))
  signal.throwIfAborted()
  const iterator = parts[Symbol.asyncIterator]()
  for (;;) {
    const next = await Promise.race([iterator.next(), stopped])
    if (next.done === true) return
    yield next.value
  }
}

t.test('a run is attached as soon as it can be, and its output comes from the log alone', async (t) => {
  const { streams, context } = terminal()
  streams.stdin.end('typed')
  let tries = 0
  let finish = (): void => undefined
  const got: string[] = []
  const finished = new Promise<void>((resolve) => {
    finish = resolve
  })
  async function* log(): AsyncGenerator<StreamPart> {
    yield { kind: 'stdout', data: Buffer.from('from the first byte on') }
    await finished
    yield ended
  }
  async function* attached(input: AsyncIterable<Uint8Array>): AsyncGenerator<StreamPart> {
    for await (const part of echo(input)) {
      if (part.kind === 'stdout') got.push(Buffer.from(part.data).toString())
      if (part.kind === 'end') finish()
      yield part
    }
  }
  const ending = await holdRun(context, {
    open: {},
    terminal: false,
    withInput: true,
    detachHint: '',
    interrupt: () => undefined,
    output: async () => log(),
    connect: async (input) => {
      tries += 1
      if (tries < 3) throw new Fault('conflict', 'it is preparing')
      return attached(input)
    }
  })
  t.strictSame(ending, { exitCode: 4 })
  t.strictSame(got, ['typed'])
  t.equal(tries, 3)
  t.equal(await text(streams.stdout.end()), 'from the first byte on')
})

t.test('a run that ends before it could be attached is told by its log', async (t) => {
  const { context } = terminal()
  async function* log(): AsyncGenerator<StreamPart> {
    yield ended
  }
  const connect = async (): Promise<never> => {
    throw new Fault('not-found', 'it is gone')
  }
  const plan = { open: {}, terminal: false, withInput: true, detachHint: '', interrupt: () => undefined }
  t.strictSame(await holdRun(context, { ...plan, output: async () => log(), connect }), { exitCode: 4 })
})

t.test('a refused attach is a failure of the run', async (t) => {
  const { context } = terminal()
  async function* silent(): AsyncGenerator<StreamPart> {
    await new Promise(() => undefined)
    yield ended
  }
  const connect = async (): Promise<never> => {
    throw new Fault('denied', 'no')
  }
  const plan = { open: {}, terminal: false, withInput: true, detachHint: '', interrupt: () => undefined }
  await t.rejects(holdRun(context, { ...plan, output: async () => silent(), connect }), { code: 'denied' })
})
