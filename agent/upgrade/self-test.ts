import { readdir } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { Fault } from '../../base/fault.ts'
import type { Runtime } from '../../isolators/runtime/runtime.ts'
import { completeMessage } from '../../proto/codec.ts'
import { newContainerId } from '../../proto/ids.ts'
import type { Ledger } from '../ports.ts'
import { TaskRunner, type TaskRunnerConfig, type TaskRunnerParts } from '../task-runner.ts'

/** Of the containers that the agent starts for itself; no master ever hears of them. */
export const selfTestFramework = 'hearth-self-test'

const attachPollMs = 50
const leftoverPatienceMs = 20_000

interface Parts {
  readonly tasks: { list(): readonly { readonly containerId: string; readonly launched: AbortSignal }[] }
  readonly runner: TaskRunnerParts
}

interface Config {
  readonly runner: TaskRunnerConfig
  readonly socketPath: string
  /** For each step, in ms. */
  readonly patienceMs: number
}

/** Everything an agent is for, done once. Rejects with a `Fault` that says what does not work. */
export async function proveSelf(parts: Parts, config: Config, signal: AbortSignal): Promise<void> {
  await provesAttached(parts, config, signal)
  const { ledger } = parts.runner
  await ledger.append({ head: ledger.view.head }, 'disk')
  await provesSocket(config)
  await provesLaunch(parts.runner, config, signal)
}

/** Every container that the kernel shows has its watcher. What runs is asked of the bundles, not of the ledger. */
async function provesAttached({ tasks, runner }: Parts, config: Config, signal: AbortSignal): Promise<void> {
  const { clock, runtime } = runner
  const bundles = await readdir(join(config.runner.runDir, 'c')).catch(() => []) // no container was ever made here
  const untilMs = clock.monotonicMs() + config.patienceMs
  for (const containerId of bundles) {
    for (;;) {
      if ((await runtime.inspect(containerId)).kind !== 'running') break
      if (tasks.list().some((task) => task.containerId === containerId && task.launched.aborted)) break
      if (clock.monotonicMs() > untilMs) {
        throw new Fault('unavailable', `container ${containerId} runs and was not attached to`, { containerId })
      }
      await clock.sleep(attachPollMs, signal)
    }
  }
}

function provesSocket({ socketPath: path, patienceMs }: Config): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(path)
    const broken = (why: string): void => {
      socket.destroy()
      reject(new Fault('unavailable', `the socket ${path} does not answer: ${why}`))
    }
    socket.setTimeout(patienceMs, () => broken('no answer in time'))
    socket.once('error', (e) => broken(e.message))
    socket.once('data', (bytes: Buffer) => {
      socket.destroy()
      if (bytes.toString('latin1').startsWith('HTTP/1.1 200')) resolve()
      else reject(new Fault('unavailable', `the socket ${path} answers ${bytes.toString('latin1').slice(0, 40)}`))
    })
    socket.write('GET /v1/tasks HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n')
  })
}

/** A container of the built-in image, from its row in the ledger to its removal, through the same code as any task. */
async function provesLaunch(parts: TaskRunnerParts, { runner: config, patienceMs }: Config, signal: AbortSignal): Promise<void> {
  const containerId = newContainerId()
  const { task: row } = completeMessage('LedgerRecord', {
    task: {
      group: {
        frameworkId: selfTestFramework,
        role: '*',
        tasks: [{ taskId: containerId, name: 'self-test', image: 'host', process: { arguments: ['true'] } }]
      },
      attempt: 1,
      containerId,
      specDigest: '',
      atMs: Math.round(parts.clock.wallMs()),
      bootId: config.bootId
    }
  })
  if (row === null) throw new Fault('corrupt', 'the self-test has no row')
  await parts.ledger.append({ task: row }, 'disk')
  const runner = new TaskRunner(row, null, unheard(parts), config)
  const over = new AbortController()
  const patience = parts.clock.sleep(patienceMs, AbortSignal.any([signal, over.signal])).catch(() => undefined) // ended
  await Promise.race([runner.launch(), patience])
  over.abort()
  signal.throwIfAborted()
  const latest = runner.latest()
  if (!runner.removed.aborted || latest?.state !== 'finished') {
    const why = latest?.message || `${latest?.state ?? 'nothing'} after ${patienceMs} ms`
    throw new Fault('unavailable', `a container of image host does not start and end: ${why}`)
  }
  await runner.forget()
}

/** Statuses stay here: nobody asked for this container. */
const unheard = (parts: TaskRunnerParts): TaskRunnerParts => ({
  ...parts,
  outbox: { report: async (status) => completeMessage('TaskStatus', status) }
})

/** What an agent that died during its self-test left; before anything looks at the ledger's tasks. */
export async function clearSelfTests(
  ledger: Ledger,
  runtime: Runtime,
  parts: TaskRunnerParts,
  config: TaskRunnerConfig
): Promise<void> {
  for (const { row } of [...ledger.view.tasks.values()]) {
    if (row.group?.frameworkId !== selfTestFramework) continue
    await runtime.endLaunch(row.containerId)
    if ((await runtime.inspect(row.containerId)).kind === 'running') {
      await runtime.wait(row.containerId, AbortSignal.timeout(leftoverPatienceMs))
    }
    const runner = new TaskRunner(row, null, unheard(parts), config)
    await runner.clear()
    await runner.forget()
  }
}
