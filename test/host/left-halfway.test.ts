import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { endStrayExecs } from '../../agent/stray-execs.ts'
import { systemClock } from '../../base/clock.ts'
import { untilSettled } from '../../isolators/runtime/oci/settle.ts'
import type { Observed } from '../../isolators/runtime/runtime.ts'
import { noContainers, startContainer } from '../support/bundle.ts'
import { until } from '../support/until.ts'

t.test(
  'a program that somebody ran through an agent that died is ended, and the task goes on',
  { skip: noContainers },
  async (t) => {
    const container = await startContainer({ args: ['sleep', '1000'] })
    t.teardown(() => container.remove())
    const { bundleDir, containerId } = container
    const pidFile = join(bundleDir, 'exec-0123abcd.pid')
    const [program = '', ...words] = container.execCommand(['--pid-file', pidFile], ['sleep', '1001'])
    const exec = spawn(program, words, { stdio: 'ignore' })
    const ended = once(exec, 'exit')
    await until(() => existsSync(pidFile) && container.programs().length === 1)
    writeFileSync(join(bundleDir, 'exec-0123abcd.process'), '{}')
    // Its cgroup has another name here than the agent gives it.
    t.equal(endStrayExecs(bundleDir, `hearth-test-${containerId}`), 2)
    await ended
    await until(() => container.programs().length === 0)
    t.notOk(existsSync(pidFile))
    t.doesNotThrow(() => process.kill(container.pid, 0), 'the first program runs on')
  }
)

t.test('a container is not judged while its monitor or its runtime is at work on it', async (t) => {
  const id = randomBytes(16).toString('hex')
  const worker = (...words: string[]) =>
    spawn('sh', ['-c', 'read wait', 'x', ...words, id], { stdio: ['pipe', 'ignore', 'ignore'] })
  const monitor = worker('--exit-dir', '/nowhere', '-c')
  const runtime = worker('run')
  t.teardown(() => [monitor, runtime].map((child) => child.kill('SIGKILL')))
  await Promise.all([once(monitor, 'spawn'), once(runtime, 'spawn')])
  let seen: Observed = { kind: 'remains' }
  let looks = 0
  const inspect = async (): Promise<Observed> => {
    looks += 1
    return seen
  }
  const { signal } = new AbortController()
  const settled = untilSettled({ inspect, sleep: systemClock.sleep }, id, signal)
  let isOver = false
  void settled.then(() => {
    isOver = true
  })
  await until(() => looks > 2)
  seen = { kind: 'running', container: { pid: 7, startTicks: 1, monitorPid: 8 } }
  const before = looks
  await until(() => looks > before + 2)
  t.notOk(isOver, 'its runtime still works')
  runtime.stdin?.end()
  t.same(await settled, seen, 'it runs, and only its monitor is left')

  seen = { kind: 'remains' }
  const gone = untilSettled({ inspect, sleep: systemClock.sleep }, id, signal)
  monitor.stdin?.end()
  t.same(await gone, { kind: 'remains' }, 'nobody is left, so this is what there is')
  t.same(await untilSettled({ inspect, sleep: systemClock.sleep }, id, AbortSignal.abort()), { kind: 'remains' })
})
