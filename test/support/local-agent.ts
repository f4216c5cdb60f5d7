import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createLocalRouter } from '../../agent/local-api/router.ts'
import { serveLocalApi } from '../../agent/local-api/server.ts'
import type { LimitedTask, LogSource } from '../../agent/local-api/task-routes.ts'
import { ContainerStreams } from '../../agent/local-api/task-streams.ts'
import { systemClock } from '../../base/clock.ts'
import { silentLog } from '../../base/log.ts'
import type { ExecRequest } from '../../isolators/runtime/runtime.ts'
import { completeMessage } from '../../proto/codec.ts'
import type { TestContainer } from './bundle.ts'

export interface LocalAgent {
  readonly socketPath: string
  readonly streams: ContainerStreams
  stop(): Promise<void>
}

export interface LocalAgentOptions {
  readonly tasks: readonly LimitedTask[]
  readonly execCommand?: (request: ExecRequest) => readonly string[]
  readonly readLog?: LogSource
  readonly terminalProgram?: readonly string[]
  readonly maxStreams?: number
}

/** The local API alone on a socket of its own, before any agent. */
export async function startLocalAgent(options: LocalAgentOptions): Promise<LocalAgent> {
  const home = mkdtempSync(join(tmpdir(), 'hearth-api-'))
  const socketPath = join(home, 'agent.sock')
  const runtime = { execCommand: options.execCommand ?? (() => ['/bin/false']), terminalProgram: () => undefined }
  const config = { terminalProgram: options.terminalProgram ?? [], maxStreams: options.maxStreams ?? 64 }
  const streams = new ContainerStreams({ runtime, clock: systemClock, log: silentLog }, config)
  const router = createLocalRouter({
    tasks: {
      list: () => options.tasks,
      find: (frameworkId, taskId) => options.tasks.find((t) => t.frameworkId === frameworkId && t.taskId === taskId),
      stopAll: async () => undefined
    },
    readLog: options.readLog ?? async function* () {},
    streams,
    health: async () => ({ healthy: true }),
    log: silentLog
  })
  const service = serveLocalApi({ router, log: silentLog }, { path: socketPath, mode: 0o660, group: 'hearth' })
  await service.start()
  return {
    socketPath,
    streams,
    async stop() {
      await service.stop(AbortSignal.timeout(5_000))
      rmSync(home, { recursive: true, force: true })
    }
  }
}

/** The runtime's command line for a container of test/support/bundle.ts. */
export function execCommandOf(container: TestContainer): (request: ExecRequest) => readonly string[] {
  return (request) => {
    const options = [
      ...(request.terminal ? ['-t'] : []),
      ...(request.workingDirectory === '' ? [] : ['--cwd', request.workingDirectory]),
      ...(request.user === '' ? [] : ['--user', request.user]),
      ...request.environment.flatMap((row) => ['-e', row]),
      ...['--pid-file', request.pidFile]
    ]
    return container.execCommand(options, request.arguments)
  }
}

export function localTask(more: Partial<LimitedTask>): LimitedTask {
  return {
    frameworkId: 'hearth-tasks',
    taskId: 'one',
    containerId: '0'.repeat(32),
    attempt: 1,
    row: completeMessage('TaskRow', {}),
    state: 'running',
    logPath: '',
    sandboxDir: '',
    bundleDir: '',
    terminal: false,
    openStdin: false,
    launched: AbortSignal.abort(),
    latest: () => null,
    ended: new AbortController().signal,
    ...more
  }
}
