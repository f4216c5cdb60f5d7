import { existsSync, readFileSync } from 'node:fs'
import type { Test } from 'tap'
import { isFault } from '../../base/fault.ts'
import { cgroupDirectories, readCgroupLayout } from '../../isolators/cgroup2/layout.ts'
import type { IsolatorRequest } from '../../isolators/isolator.ts'
import { type ContainerHost, type ContainerMaker, containerHost } from '../support/containers.ts'
import { until } from '../support/until.ts'

const patience = (): AbortSignal => AbortSignal.timeout(60_000)
const unlimited = { milliCpu: 0, memoryBytes: 0, diskBytes: 0, pidsMax: 64 }

/** What every runtime keeps to: `maker` makes it over the same isolators, cgroups and directories. */
export function runtimeContract(t: Test, maker: ContainerMaker): void {
  const begun = async (
    t: Test,
    words: readonly string[],
    more: Partial<IsolatorRequest> = {}
  ): Promise<{ readonly host: ContainerHost; readonly request: IsolatorRequest; readonly log: () => string }> => {
    const host = await containerHost(t, maker)
    const request = host.request(words, more)
    const launch = await host.prepare(request)
    await host.runtime.launch(launch, patience())
    return { host, request, log: () => readFileSync(launch.logPath, 'utf8') }
  }

  t.test('a container runs, its output is in the log and its exit code is kept', async (t) => {
    const { host, request, log } = await begun(t, ['sh', '-c', 'echo hi; echo oops >&2; printf half; exit 7'])
    const { containerId } = request
    t.match(await host.runtime.wait(containerId, patience()), { kind: 'exited', code: 7, signal: undefined, outOfMemory: false })
    t.match(log(), /stdout F hi\n/)
    t.match(log(), /stderr F oops\n/)
    t.match(log(), /half/)
    t.match(await host.runtime.inspect(containerId), { kind: 'exited', exit: { code: 7 } })
  })

  t.test('an ended container is removed without a trace in any hierarchy', async (t) => {
    const { host, request } = await begun(t, ['sleep', '1000'])
    const parent = `${host.cgroupParent}/${request.containerId}`
    const made = cgroupDirectories(readCgroupLayout(), parent).filter((d) => existsSync(d))
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
      const host = await containerHost(t, maker)
      const request = host.request([program])
      const fault = await host.runtime.launch(await host.prepare(request), patience()).catch((e: unknown) => e)
      t.ok(isFault(fault, 'invalid'), String(fault))
      if (isFault(fault)) t.equal(fault.detail['reason'], reason, String(fault.detail['runtime']))
      t.notOk(existsSync(request.bundleDir))
      t.equal(await host.runtime.endLaunch(request.containerId), 'never-ran')
    })
  }

  t.test('a container over its memory limit is reported as out of memory', async (t) => {
    const limits = { ...unlimited, memoryBytes: 32 * 1024 * 1024 }
    const { host, request } = await begun(t, ['sh', '-c', 'x=$(yes | head -c 200000000); echo $x | wc -c'], { limits })
    t.match(await host.runtime.wait(request.containerId, patience()), { kind: 'exited', outOfMemory: true })
  })

  t.test('limits on pids hold against a fork bomb', async (t) => {
    const limits = { ...unlimited, milliCpu: 200, memoryBytes: 64 * 1024 * 1024, pidsMax: 20 }
    const bomb = 'i=0; while [ $i -lt 100 ]; do sleep 60 & i=$((i+1)); done'
    const { host, request, log } = await begun(t, ['sh', '-c', bomb], { limits })
    await host.runtime.wait(request.containerId, patience())
    t.match(log(), /can't fork/)
  })

  t.test('a signal ends a container and the exit tells which', async (t) => {
    const { host, request, log } = await begun(t, ['sh', '-c', 'trap "exit 3" TERM; echo set; while true; do sleep 0.05; done'])
    await until(() => /set/.test(existsSync(`${request.sandboxDir}/log`) ? log() : ''))
    const ended = host.runtime.wait(request.containerId, patience())
    await host.runtime.signal(request.containerId, 15)
    t.match(await ended, { kind: 'exited', code: 3 })
  })

  t.test('a killed container ends with all that it began, by signal 9', async (t) => {
    const { host, request } = await begun(t, ['sh', '-c', 'sleep 1000 & sleep 1000'])
    t.match(await host.runtime.inspect(request.containerId), { kind: 'running' })
    await host.runtime.kill(request.containerId)
    t.match(await host.runtime.wait(request.containerId, patience()), { kind: 'exited', code: 137, signal: 9 })
  })

  t.test('a wait that is given up rejects with the reason, and the container goes on', async (t) => {
    const { host, request } = await begun(t, ['sleep', '1000'])
    const over = new AbortController()
    const waited = host.runtime.wait(request.containerId, over.signal).catch((e: unknown) => e)
    over.abort('enough')
    t.equal(await waited, 'enough')
    t.match(await host.runtime.settled(request.containerId, patience()), { kind: 'running' })
  })

  t.test('what was never launched is absent, and can be ended and removed all the same', async (t) => {
    const host = await containerHost(t, maker)
    const { containerId } = host.request(['true'])
    t.same(await host.runtime.inspect(containerId), { kind: 'absent' })
    t.equal(await host.runtime.endLaunch(containerId), 'never-ran')
    await host.runtime.signal(containerId, 15)
    await host.runtime.kill(containerId)
    await host.runtime.remove(containerId, patience())
    host.runtime.dropExit(containerId)
  })

  t.test('a launch that is given up leaves nothing', async (t) => {
    const host = await containerHost(t, maker)
    const request = host.request(['sleep', '1000'])
    const launch = await host.prepare(request)
    await t.rejects(host.runtime.launch(launch, AbortSignal.abort(new Error('given up'))))
    t.notOk(existsSync(request.bundleDir))
    t.not((await host.runtime.inspect(request.containerId)).kind, 'running')
  })
}
