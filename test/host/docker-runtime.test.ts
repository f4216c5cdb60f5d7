import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { observeDocker } from '../../agent/fsck/observe-docker.ts'
import { dockerCapability } from '../../agent/host/docker-program.ts'
import { execRefusal } from '../../agent/host/exec-refusal.ts'
import { dockerPlan } from '../../agent/node-health/checks/docker.ts'
import { systemClock } from '../../base/clock.ts'
import { Fault } from '../../base/fault.ts'
import { pidsIn } from '../../isolators/cgroup2/population.ts'
import { DockerRuntime } from '../../isolators/runtime/docker/docker.ts'
import type { Engine } from '../../isolators/runtime/docker/engine.ts'
import { channels, encodeStreamFrame, encodeStreamJson, StreamFrameDecoder } from '../../proto/stream-frame.ts'
import { runtimeContract } from '../contract/runtime.ts'
import { AgentHost, aborted } from '../support/agent-host.ts'
import { containerHost } from '../support/containers.ts'
import { testDocker } from '../support/dockerd.ts'
import { until } from '../support/until.ts'

const docker = await testDocker()
t.teardown(() => docker.stop())
const patience = (): AbortSignal => AbortSignal.timeout(60_000)
const program = [process.execPath, join(import.meta.dirname, '../../dist/docker.cjs'), docker.socketPath]
const down = new Fault('unavailable', 'Docker does not answer at /nowhere', { reason: 'docker_down' })
const task = { image: 'busybox:test', runtime: 'docker', pull: 'never' as const }

t.test('Docker keeps to the contract of a runtime', async (t) => {
  runtimeContract(t, docker.maker)
})

t.test(
  'output that was written while no agent lived comes into the log once, in order, in the files of its budget',
  async (t) => {
    const host = await containerHost(t, docker.maker)
    const request = host.request([
      'sh',
      '-c',
      'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo "line $i of the program"; done; printf end'
    ])
    const launch = await host.prepare(request)
    await host.runtime.launch(launch, patience())
    await until(() => existsSync(launch.logPath) && readFileSync(launch.logPath).length > 0)
    // As an agent that is killed and comes again, three times: each begins where the log ends.
    for (let i = 0; i < 3; i += 1) {
      await host.runtime.stop()
      const next = docker.maker.make?.({ ...host, layout: host.layout })
      await next?.wait(request.containerId, AbortSignal.timeout(200)).catch(() => undefined)
      await next?.stop()
    }
    const last = docker.maker.make?.({ ...host, layout: host.layout })
    await last?.wait(request.containerId, patience())
    const numbers = readFileSync(launch.logPath, 'utf8').matchAll(/ stdout [FP] (?:line (\d+) of the program|(end))/g)
    t.same(
      [...numbers].map(([, n, end]) => n ?? end),
      [...Array.from({ length: 20_000 }, (_, i) => String(i + 1)), 'end']
    )
    await last?.stop()
  }
)

t.test('the log of a container of Docker’s is rotated within its budget, and no line is lost between two files', async (t) => {
  const agent = await agentHost(t).start()
  const write =
    'i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo "line $i and what else there is to say of it"; [ $((i % 500)) = 0 ] && sleep 0.3; done'
  const budget = { fileBytes: 65_536, files: 9 }
  const { logPath, ended } = await agent.run(['sh', '-c', `${write}; true`], { ...task, logBudget: budget })
  await aborted(ended)
  const files = [8, 7, 6, 5, 4, 3, 2, 1].map((n) => `${logPath}.${n}`).filter((path) => existsSync(path))
  t.ok(files.length > 1, `${files.length} files were put away`)
  const all = [...files, logPath].map((path) => readFileSync(path, 'utf8')).join('')
  t.same(
    [...all.matchAll(/ F line (\d+) and/g)].map(([, n]) => Number(n)),
    Array.from({ length: 3_000 }, (_, i) => i + 1)
  )
})

t.test('a task of Docker’s outlives its agent: the next one takes it over, and tells how it ended meanwhile', async (t) => {
  const host = agentHost(t)
  const first = await host.start()
  const lasting = await first.run(['sh', '-c', 'echo begun; exec sleep 1000'], task)
  const ending = await first.run(['sh', '-c', 'echo going; sleep 1; echo gone; exit 9'], task)
  await first.crash()
  await docker.docker.getContainer(`hearth-${ending.containerId}`).wait()
  const second = await host.start()
  const after = second.runner(ending.containerId)
  await aborted(after.ended)
  t.match(after.latest(), { state: 'failed', reason: 'exited', exitCode: 9 })
  t.match(readFileSync(after.logPath, 'utf8'), /F going\n[^\n]*F gone\n$/)
  const kept = second.runner(lasting.containerId)
  t.equal(kept.state, 'running')
  t.match(kept.latest(), { state: 'running', attempt: 1 })
  await kept.kill({ signal: '', graceMs: 0 })
  await aborted(kept.removed)
  t.match(kept.latest(), { state: 'killed', reason: 'kill_requested', exitCode: 137 })
  t.same(await ours(), [])
})

t.test('an agent that dies at any word to Docker leaves no stranger, and no task runs twice', async (t) => {
  for (const step of ['create', 'start', 'remove'] as const) {
    for (const when of ['before', 'after'] as const) {
      t.test(`${when} ${step}`, async (t) => {
        let dead = false
        const host = agentHost(t, (engine) => (dead ? engine : dying(engine, step, when, () => (dead = true))))
        const first = await host.start()
        const started = first.run(['true'], task).catch(() => undefined) // it never comes to it
        await until(() => dead)
        await Promise.race([started, Promise.resolve()])
        const [id = ''] = first.tasks.list().map((r) => r.containerId)
        const second = await host.start()
        const runner = second.runner(id)
        await aborted(runner.removed)
        t.match(runner.latest()?.state, /finished|failed/)
        if (runner.latest()?.state === 'failed') t.equal(runner.latest()?.reason, 'exit_unknown')
        t.same(await ours(), [], 'nothing is left in Docker')
        t.equal(existsSync(join(host.directory, 'docker', id)), false)
      })
    }
  }
})

t.test('without Docker its tasks are refused with the reason, and others run', async (t) => {
  const host = agentHost(t, () => {
    throw down
  })
  const agent = await host.start()
  const refused = await agent.run(['true'], task)
  t.match(refused.latest(), { state: 'failed', message: 'Docker does not answer at /nowhere' })
  const other = await agent.run(['true'])
  await aborted(other.removed)
  t.match(other.latest(), { state: 'finished' })
})

t.test('while Docker does not answer its tasks are kept; a kill ends them, and how is told when it is back', async (t) => {
  let isDown = false
  const host = agentHost(t, (engine) => {
    if (isDown) throw down
    return engine
  })
  const first = await host.start()
  const { containerId } = await first.run(['sleep', '1000'], task)
  isDown = true
  await first.crash()
  const second = await host.start()
  const kept = second.runner(containerId)
  await until(() => kept.state === 'running')
  t.match(kept.latest(), { state: 'running' })
  await kept.kill({ signal: '', graceMs: 0 })
  await until(() => pidsIn(host.layout, join(host.cgroupParent, containerId)).length === 0)
  t.notOk(kept.ended.aborted, 'how it ended only Docker knows')
  isDown = false
  await aborted(kept.removed)
  t.match(kept.latest(), { state: 'killed', reason: 'kill_requested', exitCode: 137 })
  t.same(await ours(), [])
})

t.test('the node says whether it has Docker, and whether Docker answers', async (t) => {
  const signal = patience()
  const there = { dockerSocket: docker.socketPath }
  const nowhere = { dockerSocket: '/nowhere/docker.sock' }
  t.match(dockerCapability(there), { name: 'runtime.docker', present: true })
  t.match(dockerCapability(nowhere), { present: false, detail: /no Docker at/ })
  t.match(await dockerPlan(there.dockerSocket).run(signal), [{ kind: 'docker', verdict: 'OK' }])
  t.match(await dockerPlan(nowhere.dockerSocket).run(signal), [{ verdict: 'WARNING', reason: /ENOENT/ }])
})

t.test('what Docker cannot hold is refused by its name', async (t) => {
  const agent = await agentHost(t).start()
  const disk = { name: 'disk', kind: 'scalar' as const, scalar: 10_000_000 }
  const limited = await agent.run(['true'], { ...task, resources: [disk] })
  t.match(limited.latest(), { state: 'failed', reason: 'unsupported_request', message: /disk limit/ })
})

t.test('programs run inside, with their output apart, their exit code and their pid; what is not there is named', async (t) => {
  const agent = await agentHost(t).start()
  const { containerId, bundleDir } = await agent.run(['sleep', '1000'], task)
  const run = async (...words: readonly string[]) => {
    const [pidFile, processFile] = [join(bundleDir, 'exec-1.pid'), join(bundleDir, 'exec-1.process')]
    rmSync(pidFile, { force: true })
    writeFileSync(
      processFile,
      JSON.stringify({ args: words, env: ['PATH=/bin', 'A=b'], cwd: '/tmp', user: { uid: 1000, gid: 1000 } })
    )
    const found = await execute([...program, 'exec', '--pid-file', pidFile, '--process', processFile, containerId])
    return { ...found, begun: existsSync(pidFile) }
  }
  t.same(await run('sh', '-c', 'id -u; pwd; echo $A; echo oops >&2; exit 5'), {
    ...{ code: 5, stdout: '1000\n/tmp\nb\n', stderr: 'oops\n' },
    begun: true
  })
  const missing = await run('nothing-here')
  await agent.runtime.kill(containerId)
  t.match(missing, { stdout: '', begun: false })
  t.match(execRefusal('nothing-here', missing.stderr).detail, { reason: 'program_not_found' })
})

t.test('a terminal inside has its size, takes keys, and ends with the exit code', async (t) => {
  const agent = await agentHost(t).start()
  const { containerId, bundleDir } = await agent.run(['sleep', '1000'], task)
  const order = {
    ...{ command: [], containerId, bundleDir, pidFile: join(bundleDir, 'exec-2.pid'), arguments: ['sh'], environment: [] },
    ...{ workingDirectory: '', rows: 33, columns: 77 }
  }
  const [file = '', ...words] = [...program, 'exec']
  const child = spawn(file, words, { stdio: ['pipe', 'pipe', 'inherit'] })
  child.stdin.write(encodeStreamJson(channels.open, order))
  const decoder = new StreamFrameDecoder()
  let said = ''
  let end: unknown
  for await (const chunk of child.stdout) {
    for (const { channel, data } of decoder.push(chunk as Buffer)) {
      const text = Buffer.from(data).toString()
      if (channel === channels.progress) child.stdin.write(encodeStreamFrame(channels.stdin, Buffer.from('stty size; exit 6\n')))
      if (channel === channels.stdout) said += text
      if (channel === channels.end) end = JSON.parse(text)
    }
  }
  await agent.runtime.kill(containerId)
  t.match(said, /33 77\r\n/)
  t.same(end, { exitCode: 6 })
})

t.test('a probe of a command runs in a container of Docker’s', async (t) => {
  const agent = await agentHost(t).start()
  const failing = { purpose: 'liveness' as const, command: { arguments: ['false'] }, intervalMs: 100, failures: 1 }
  const runner = await agent.run(['sleep', '1000'], { ...task, probes: [failing], killPolicy: { signal: '', graceMs: 0 } })
  await aborted(runner.ended)
  t.match(runner.latest(), { state: 'failed', reason: 'probe_failed' })
})

t.test('fsck shows the containers of this agent in Docker, and those of nobody else', async (t) => {
  const exec = { run: async () => ({ code: 0, stdout: `{"name":"hearth-${'a'.repeat(32)}","state":"ended"}\n`, stderr: '' }) }
  const stateDir = t.testdir({ agent: { docker: {} } })
  const places = { stateDir, agentId: 'b'.repeat(32), dockerProgram: ['docker'] }
  const { seen } = await observeDocker(places, exec)
  t.match(seen, [{ kind: 'docker_container', containerId: 'a'.repeat(32), isOurs: true }])
})

async function execute([file = '', ...words]: readonly string[]) {
  const child = spawn(file, words, { stdio: ['ignore', 'pipe', 'pipe'] })
  const [stdout, stderr, code] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
  return { stdout, stderr, code: code[0] as number }
}

t.test('nothing of all this is left in Docker', async (t) => {
  t.same(await ours(), [])
})

const ours = async (): Promise<readonly string[]> => (await docker.names()).filter((name) => name.startsWith('/hearth-'))

function agentHost(
  t: Parameters<typeof containerHost>[0] & ConstructorParameters<typeof AgentHost>[0],
  around = (engine: Engine) => engine
) {
  return new AgentHost(
    t,
    ({ layout, runDir, cgroupParent, directory, sandboxesDir }, agentId) =>
      new DockerRuntime(
        { layout, sleep: systemClock.sleep, engine: async () => around(await docker.engine()) },
        {
          ...{ runDir, cgroupParent, agentId: () => agentId, program },
          askedDir: join(directory, 'docker'),
          logPathOf: (id) => join(sandboxesDir, id, 'log')
        }
      )
  )
}

/** At that word this agent says and hears nothing more. */
function dying(engine: Engine, step: 'create' | 'start' | 'remove', when: 'before' | 'after', died: () => void): Engine {
  const never = new Promise<never>(() => undefined)
  return {
    ...engine,
    [step]: async (...words: unknown[]) => {
      if (when === 'after') await (engine[step] as (...all: unknown[]) => Promise<void>)(...words)
      died()
      return never
    }
  }
}
