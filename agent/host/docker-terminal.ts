import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Fault } from '../../base/fault.ts'
import { containerName } from '../../isolators/runtime/docker/docker.ts'
import type { Engine } from '../../isolators/runtime/docker/engine.ts'
import { channels } from '../../proto/stream-frame.ts'
import { execBody, exitOf, heads, pidOf, tellPid, textOf } from './docker-exec.ts'
import { parseExecOrder, processOf } from './exec-order.ts'
import { ExecProgram, signalName } from './exec-program.ts'
import { execRefusal } from './exec-refusal.ts'
import { type FrameInput, feed, type InputSink, lostInput, parseSize } from './frame-input.ts'
import { faultFrame } from './frame-output.ts'
import type { TerminalOutput } from './terminal-output.ts'

type Order = Readonly<Record<string, unknown>>

/** A program on a terminal of Docker's making. */
export async function terminalExec(
  engine: Engine,
  value: Order,
  input: FrameInput,
  output: TerminalOutput,
  gone: AbortSignal
): Promise<void> {
  const order = parseExecOrder(value)
  const config: unknown = JSON.parse(await readFile(join(order.bundleDir, 'config.json'), 'utf8'))
  const words = processOf(config, order, true) as unknown as Parameters<typeof execBody>[0]
  const exec = await engine.exec(containerName(order.containerId), execBody(words, true, true))
  output.ready()
  const pid = await pidOf(exec)
  if (pid === 0) {
    let said = ''
    for await (const chunk of exec.stream) said += (chunk as Buffer).toString()
    return output.finish(faultFrame(execRefusal(order.arguments[0] ?? '', said)))
  }
  await tellPid(order.pidFile, pid)
  await exec.resize(order.rows, order.columns)
  const program = new ExecProgram(order.pidFile)
  const hangUp = (): void => {
    program.kill('SIGHUP')
    exec.stream.end()
  }
  const taken = take(
    input,
    sinkOf(exec.stream, { resize: exec.resize, signal: (name) => program.kill(signalName(name)) }),
    gone,
    hangUp
  )
  for await (const chunk of exec.stream) await output.write(channels.stdout, chunk as Buffer)
  const exitCode = await exitOf(exec)
  await output.finish(taken.fault === undefined ? { exitCode } : faultFrame(taken.fault))
}

/** The container's own terminal, or its streams. */
export async function attachToDocker(
  engine: Engine,
  order: Order,
  input: FrameInput,
  output: TerminalOutput,
  gone: AbortSignal
): Promise<void> {
  const name = containerName(textOf(order, 'containerId'))
  const terminal = (await engine.inspect(name))?.terminal ?? false
  const stream = await engine.attach(name, gone)
  const resize = (rows: number, columns: number): Promise<void> => engine.resize(name, rows, columns)
  if (terminal && order['rows'] !== undefined && order['rows'] !== 0) {
    const { rows, columns } = parseSize(order)
    await resize(rows, columns)
  }
  output.ready()
  const taken = take(
    input,
    sinkOf(stream, { resize: terminal ? resize : async () => undefined, signal: () => undefined }),
    gone,
    () => stream.end()
  )
  if (terminal) for await (const chunk of stream) await output.write(channels.stdout, chunk as Buffer)
  else {
    for await (const { channel, data } of heads(stream))
      await output.write(channel === 2 ? channels.stderr : channels.stdout, data)
  }
  if (taken.fault === undefined) await output.flush()
  else await output.finish(faultFrame(taken.fault))
}

function sinkOf(stream: NodeJS.WritableStream, more: Pick<InputSink, 'resize' | 'signal'>): InputSink {
  return {
    async stdin(data) {
      if (!stream.write(data)) await once(stream, 'drain')
    },
    stdinEnd: () => void stream.end(),
    ...more
  }
}

function take(input: FrameInput, sink: InputSink, gone: AbortSignal, hangUp: () => void): { readonly fault: Fault | undefined } {
  const taken: { fault: Fault | undefined } = { fault: undefined }
  if (gone.aborted) hangUp()
  else gone.addEventListener('abort', hangUp, { once: true })
  feed(input, sink).then(hangUp, (e: unknown) => {
    taken.fault = lostInput(e)
    hangUp()
  })
  return taken
}
