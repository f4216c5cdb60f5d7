import { existsSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Fault, isFault } from '../../base/fault.ts'
import { findByArgument } from '../../isolators/runtime/oci/process-table.ts'
import { runtimeContract } from '../contract/runtime.ts'
import { containerHost } from '../support/containers.ts'
import { until } from '../support/until.ts'

const patience = (): AbortSignal => AbortSignal.timeout(30_000)

for (const program of ['runc', 'crun'] as const) {
  t.test(`${program} keeps to the contract of a runtime`, async (t) => {
    runtimeContract(t, { program })
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
