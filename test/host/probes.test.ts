import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { findByArgument } from '../../isolators/runtime/oci/process-table.ts'
import type { Init } from '../../proto/codec.ts'
import type { Probe, TaskStatus } from '../../proto/gen/messages.ts'
import { noContainers as skip } from '../support/bundle.ts'
import { taskHost } from '../support/task-host.ts'
import { until } from '../support/until.ts'

const often = { intervalMs: 20, timeoutMs: 10_000 }
const command = (words: string): Init<Probe> => ({ command: { arguments: ['sh', '-c', words] }, ...often })
const wellThreeTimes = 'echo >> /n; test $(wc -l < /n) -le 3 || { echo no more >&2; exit 4; }'
const killPolicy = { signal: '', graceMs: 0 }
const isFinal = (s: TaskStatus): boolean => ['finished', 'failed', 'killed'].includes(s.state) && !s.willRestart

t.test('a failed liveness command ends the attempt, and the restart policy decides', { skip }, async (t) => {
  const life = await taskHost(t).begin()
  await life.launch({
    taskId: 'a',
    killPolicy,
    process: { arguments: ['sh', '-c', 'sleep 1000'] },
    restart: { mode: 'on_failure', maxAttempts: 2, backoffMs: 10 },
    probes: [{ purpose: 'liveness', failures: 2, ...command(wellThreeTimes) }]
  })
  t.match(await life.told('a', (s) => s.ready === true), { attempt: 1, state: 'running' })
  t.match(await life.told('a', (s) => s.willRestart), {
    attempt: 1,
    state: 'failed',
    reason: 'probe_failed',
    message: 'the liveness probe failed 2 times in a row: sh ended with 4: no more',
    ready: false
  })
  t.match(await life.told('a', isFinal), { attempt: 2, reason: 'probe_failed', earlierAttempts: [{ reason: 'probe_failed' }] })
})

t.test(
  'readiness follows an address of the host, and survives the agent’s restart until the probe fails',
  { skip },
  async (t) => {
    let status = 200
    const server = createServer((_, response) => response.writeHead(status).end())
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    t.teardown(() => server.close())
    const { port } = server.address() as AddressInfo
    const host = taskHost(t)
    const life = await host.begin()
    await life.launch({
      taskId: 'a',
      killPolicy,
      process: { arguments: ['sleep', '1000'] },
      probes: [
        { purpose: 'startup', tcp: { port }, ...often },
        { purpose: 'readiness', http: { port, path: '/well' }, failures: 1, ...often }
      ]
    })
    await life.told('a', (s) => s.ready === true)
    t.same(
      life.statuses('a').map((s) => [s.state, s.startedUp, s.ready]),
      [
        ['running', false, false],
        ['running', true, false],
        ['running', true, true]
      ]
    )
    await life.crash()
    const next = await host.begin()
    t.match(next.tasks.find('f', 'a')?.latest(), { state: 'running', ready: true })
    status = 503
    t.match(await next.told('a', (s) => s.ready === false && s.startedUp && s.number > 3), { state: 'running', attempt: 1 })
    status = 204
    await next.told('a', (s) => s.ready === true && s.number > 4)
  }
)

t.test('the program of a probe does not outlive the agent that asked', { skip }, async (t) => {
  const seconds = String(1e6 + Math.floor(Math.random() * 1e6))
  const host = taskHost(t)
  const life = await host.begin()
  await life.launch({
    taskId: 'a',
    killPolicy,
    process: { arguments: ['sleep', '1000'] },
    probes: [{ purpose: 'readiness', command: { arguments: ['sleep', seconds] }, intervalMs: 600_000, timeoutMs: 600_000 }]
  })
  await until(() => findByArgument(seconds).length > 0)
  await life.crash()
  const next = await host.begin()
  await until(() => findByArgument(seconds).length === 0)
  t.match(next.tasks.find('f', 'a')?.latest(), { state: 'running', attempt: 1 })
})
