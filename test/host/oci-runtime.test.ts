import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Fault, isFault } from '../../base/fault.ts'
import { cgroupDirectories, readCgroupLayout } from '../../isolators/cgroup2/layout.ts'
import { findByArgument } from '../../isolators/runtime/oci/process-table.ts'
import { containerHost } from '../support/containers.ts'
import { until } from '../support/until.ts'

const patience = (): AbortSignal => AbortSignal.timeout(30_000)

t.test('a container runs, its output is in the log and its exit code is kept', async (t) => {
  const host = await containerHost(t)
  const request = host.request(['sh', '-c', 'echo hi; echo oops >&2; exit 7'])
  const launch = await host.prepare(request)
  const running = await host.runtime.launch(launch, patience())
  t.ok(running.pid > 1)
  const exit = await host.runtime.wait(request.containerId, patience())
  t.match(exit, { kind: 'exited', code: 7, signal: undefined, outOfMemory: false })
  const log = readFileSync(launch.logPath, 'utf8')
  t.match(log, /stdout F hi\n/)
  t.match(log, /stderr F oops\n/)
})

t.test('an ended container is removed without a trace in any hierarchy', async (t) => {
  const host = await containerHost(t)
  const request = host.request(['sleep', '1000'])
  const launch = await host.prepare(request)
  await host.runtime.launch(launch, patience())
  const path = String(((await launch.config)['linux'] as { cgroupsPath: string }).cgroupsPath)
  const made = cgroupDirectories(readCgroupLayout(), path).filter((d) => existsSync(d))
  t.ok(made.length > 0, 'it had cgroups')
  await host.remove(request)
  t.same(
    made.filter((d) => existsSync(d)),
    []
  )
  t.notOk(existsSync(request.bundleDir))
  t.same(await host.runtime.inspect(request.containerId), { kind: 'absent' })
  await host.remove(request)
})

for (const [program, reason] of [
  ['/bin/nothing-here', 'program_not_found'],
  ['nothing-here', 'program_not_found'],
  ['/etc/passwd', 'program_not_executable']
] as const) {
  t.test(`launching ${program} says ${reason} and leaves nothing`, async (t) => {
    const host = await containerHost(t)
    const request = host.request([program])
    const launch = await host.prepare(request)
    const fault = await host.runtime.launch(launch, patience()).catch((e: unknown) => e)
    t.ok(isFault(fault, 'invalid'), String(fault))
    if (isFault(fault)) t.equal(fault.detail['reason'], reason, String(fault.detail['runtime']))
    t.notOk(existsSync(request.bundleDir))
  })
}

t.test('a memory limit below what starts is named as the cause', async (t) => {
  const host = await containerHost(t)
  const request = host.request(['true'], { limits: { milliCpu: 0, memoryBytes: 262_144, diskBytes: 0, pidsMax: 64 } })
  const fault = await host.runtime.launch(await host.prepare(request), patience()).catch((e: unknown) => e)
  t.ok(isFault(fault), String(fault))
  if (isFault(fault)) t.equal(fault.detail['reason'], 'memory_too_small', String(fault.detail['runtime']))
})

t.test('a monitor that waited for a bundle in vain is gone, with all that was made for it', async (t) => {
  const host = await containerHost(t)
  const request = host.request(['true'])
  const launch = await host.prepare(request)
  const broken = new Fault('exhausted', 'no wall today')
  const config = until(() => findByArgument(request.containerId).length > 0).then(() => Promise.reject(broken))
  t.equal(await host.runtime.launch({ ...launch, config }, patience()).catch((e: unknown) => e), broken)
  await until(() => findByArgument(request.containerId).length === 0)
  t.notOk(existsSync(request.bundleDir))
  await host.remove(request)
})

t.test('a container over its memory limit is reported as out of memory', async (t) => {
  const host = await containerHost(t)
  const limits = { milliCpu: 0, memoryBytes: 32 * 1024 * 1024, diskBytes: 0, pidsMax: 64 }
  const request = host.request(['sh', '-c', 'x=$(yes | head -c 200000000); echo $x | wc -c'], { limits })
  await host.runtime.launch(await host.prepare(request), patience())
  t.match(await host.runtime.wait(request.containerId, patience()), { kind: 'exited', outOfMemory: true })
})

t.test('limits on pids hold against a fork bomb', async (t) => {
  const host = await containerHost(t)
  const limits = { milliCpu: 200, memoryBytes: 64 * 1024 * 1024, diskBytes: 0, pidsMax: 20 }
  const request = host.request(['sh', '-c', 'i=0; while [ $i -lt 100 ]; do sleep 60 & i=$((i+1)); done'], { limits })
  const launch = await host.prepare(request)
  await host.runtime.launch(launch, patience())
  await host.runtime.wait(request.containerId, patience())
  t.match(readFileSync(launch.logPath, 'utf8'), /can't fork/)
})

t.test('a signal ends a container and the exit tells which', async (t) => {
  const host = await containerHost(t)
  const request = host.request(['sh', '-c', 'trap "exit 3" TERM; while true; do sleep 0.05; done'])
  await host.runtime.launch(await host.prepare(request), patience())
  const ended = host.runtime.wait(request.containerId, patience())
  // A shell that has not yet set its trap ignores the signal as pid 1: send it until it ends.
  const stop = new AbortController()
  const pest = (async () => {
    while (!stop.signal.aborted) {
      await host.runtime.signal(request.containerId, 15)
      await new Promise((resolve) => setImmediate(resolve))
    }
  })()
  t.match(await ended, { kind: 'exited', code: 3 })
  stop.abort()
  await pest
})

t.test('a container whose monitor is killed goes on and ends as lost', async (t) => {
  const host = await containerHost(t)
  const request = host.request(['sleep', '1000'])
  const running = await host.runtime.launch(await host.prepare(request), patience())
  process.kill(running.monitorPid, 'SIGKILL')
  t.match(await host.runtime.inspect(request.containerId), { kind: 'running' })
  await host.runtime.kill(request.containerId)
  t.match(await host.runtime.wait(request.containerId, patience()), { kind: 'lost' })
})

t.test('a second runtime on the same directory finds what runs and what has ended', async (t) => {
  const host = await containerHost(t)
  const lasting = host.request(['sleep', '1000'])
  const brief = host.request(['sh', '-c', 'exit 4'])
  const running = await host.runtime.launch(await host.prepare(lasting), patience())
  await host.runtime.launch(await host.prepare(brief), patience())
  await host.runtime.wait(brief.containerId, patience())
  t.match(await host.runtime.inspect(lasting.containerId), { kind: 'running', container: running })
  t.match(await host.runtime.inspect(brief.containerId), { kind: 'exited', exit: { code: 4 } })
  t.ok(existsSync(join(host.runDir, 'exits', brief.containerId)))
})

t.test('crun runs the same bundle', async (t) => {
  const host = await containerHost(t)
  const request = host.request(['sh', '-c', 'exit 5'])
  const launch = await host.prepare(request)
  await host.runtime.launch({ ...launch, runtime: 'crun' }, patience())
  t.match(await host.runtime.wait(request.containerId, patience()), { kind: 'exited', code: 5 })
})
