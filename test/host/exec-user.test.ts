import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { ExecRequest } from '../../isolators/runtime/runtime.ts'
import { noContainers } from '../support/bundle.ts'
import { containerHost } from '../support/containers.ts'
import { localTask, startLocalAgent } from '../support/local-agent.ts'
import { openStream } from '../support/stream-client.ts'

for (const runtime of ['runc', 'crun'] as const) {
  const skip = runtime === 'crun' && !existsSync('/usr/bin/crun') ? 'needs crun' : noContainers
  t.test(`a program in a ${runtime} container runs as a user that its image names`, { skip }, async (t) => {
    const host = await containerHost(t)
    mkdirSync(join(host.layer, 'etc'), { recursive: true })
    writeFileSync(join(host.layer, 'etc/passwd'), 'root:x:0:0::/:/bin/sh\nnobody:x:65534:65533::/:/bin/sh\n')
    writeFileSync(join(host.layer, 'etc/group'), 'nogroup:x:65533:\nlogs:x:50:nobody\n')
    const request = host.request(['sleep', '1000'])
    const launch = await host.prepare(request)
    await host.runtime.launch({ ...launch, runtime }, AbortSignal.timeout(20_000))
    const task = localTask({ containerId: request.containerId, bundleDir: request.bundleDir })
    const execCommand = (exec: ExecRequest) => host.runtime.execCommand(exec)
    const agent = await startLocalAgent({ tasks: [task], execCommand })
    t.teardown(() => agent.stop())
    const run = async (user: string, ...args: readonly string[]) => {
      const stream = await openStream(agent.socketPath, '/v1/tasks/hearth-tasks/one/exec', { arguments: args, user })
      return { end: await stream.end, said: stream.stdout() }
    }
    const ids = ['sh', '-c', 'echo $(id -u) $(id -g) $(id -G)']
    for (const user of ['nobody', '65534']) {
      t.same(await run(user, ...ids), { end: { exitCode: 0 }, said: '65534 65533 65533 50\n' }, user)
    }
    t.same(await run('', ...ids), { end: { exitCode: 0 }, said: '0 0 0\n' })
    t.same(await run('7:8', ...ids), { end: { exitCode: 0 }, said: '7 8 8\n' })
    t.match((await run('', 'no-such-program')).end, { error: { detail: { reason: 'program_not_found', exitCode: 127 } } })
    t.match((await run('', '/no/such')).end, { error: { detail: { reason: 'program_not_found', exitCode: 127 } } })
    t.match((await run('', '/etc/passwd')).end, { error: { detail: { reason: 'program_not_executable', exitCode: 126 } } })
    t.match((await run('', '/etc')).end, { error: { detail: { exitCode: 126 } } })
  })
}
