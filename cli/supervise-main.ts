import { copyFileSync, statSync, truncateSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { systemClock } from '../base/clock.ts'
import { LineSink, type Log, type LogFields } from '../base/log.ts'
import { identityOf, type ProcessIdentity } from './process-identity.ts'
import { daemonLog, type StateLayout, stateLayout } from './state-layout.ts'
import { type DaemonPlan, type DaemonState, Supervisor } from './supervisor.ts'
import { removeSupervisorFile, writeSupervisorFile } from './supervisor-file.ts'

const logLimitBytes = 16 * 1024 * 1024
const logCheckMs = 5_000
const allDaemons = ['master', 'agent'] as const
type Daemon = (typeof allDaemons)[number]

type Environment = Readonly<Record<string, string | undefined>>

/**
 * The detached process behind `hearth up`, `cluster init` and `agent join`: `supervise.cjs STATE_DIR [HTTP [DAEMON,DAEMON]]`. Ends after
 * SIGTERM, when its daemons have.
 */
export async function main(argv: readonly string[], env: Environment): Promise<number> {
  const [stateDir = '', http = '', named = ''] = argv
  const daemons = allDaemons.filter((name) => named === '' || named.split(',').includes(name))
  const layout = stateLayout(stateDir)
  const log = jsonLog({ room: 'supervisor' })
  const self = identityOf(process.pid)
  if (stateDir === '' || self === undefined) throw new Error('supervise.cjs is started by `hearth up` with a state directory')
  const report = (states: readonly DaemonState[]): void => writeReport(layout, self, http, states, log)
  const supervisor = new Supervisor(
    { clock: systemClock, log, report },
    daemons.map((name) => daemonPlan(name, layout, http, env))
  )
  const stop = new AbortController()
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.on(name, () => stop.abort())
  process.on('SIGHUP', () => log.info({}, 'supervisor.hangup_ignored'))
  supervisor.start()
  await capLogs(layout, daemons, log, stop.signal)
  await supervisor.stop()
  removeSupervisorFile(layout)
  log.info({}, 'supervisor.stopped')
  return 0
}

/**
 * Node's own 16 MB let the collector copy so much at a time that a master with 100,000 tasks stands still for 50 ms and more
 * (decisions/0035).
 */
export const masterHeap = '--max-semi-space-size=4'

export function daemonPlan(name: Daemon, layout: StateLayout, http: string, env: Environment): DaemonPlan {
  const programs = dirname(process.argv[1] ?? '')
  const defined = Object.entries(env).filter((e): e is [string, string] => e[1] !== undefined)
  const common = ['--state-dir', layout.stateDir]
  const agent = ['--max-semi-space-size=1', join(programs, 'start-agent.cjs'), ...common]
  const master = [masterHeap, join(programs, 'master.cjs'), ...common, ...(http === '' ? [] : ['--http', http])]
  return {
    name,
    program: process.execPath,
    arguments: name === 'agent' ? agent : master,
    env: {
      ...Object.fromEntries(defined),
      HEARTH_STATE_DIR: layout.stateDir,
      UV_THREADPOOL_SIZE: '8'
    },
    logFile: daemonLog(layout, name)
  }
}

function writeReport(layout: StateLayout, self: ProcessIdentity, http: string, states: readonly DaemonState[], log: Log): void {
  try {
    writeSupervisorFile(layout, { process: self, http, daemons: states })
  } catch (error) {
    log.error({ error: String(error) }, 'supervisor.report_failed') // a full disk must not end the daemons
  }
}

/** Resolves when the signal aborts. Daemons append, so their files may be emptied under them; one older file is kept. */
async function capLogs(layout: StateLayout, daemons: readonly Daemon[], log: Log, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    for (const name of [...daemons, 'supervisor']) {
      try {
        capLog(daemonLog(layout, name), logLimitBytes)
      } catch (error) {
        log.error({ error: String(error), file: daemonLog(layout, name) }, 'supervisor.log_not_capped')
      }
    }
    await systemClock.sleep(logCheckMs, signal).catch(() => undefined) // told to stop: the loop ends
  }
}

export function capLog(path: string, limitBytes: number): void {
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0
  if (size <= limitBytes) return
  copyFileSync(path, `${path}.1`)
  truncateSync(path)
}

function jsonLog(bindings: LogFields): Log {
  return logInto(new LineSink(1, (lines) => logLine('warn', { ...bindings, lines }, 'log.lines_lost')), bindings)
}

function logInto(sink: LineSink, bindings: LogFields): Log {
  const write = (level: string) => (fields: LogFields, event: string) =>
    sink.write(logLine(level, { ...bindings, ...fields }, event))
  const [debug, info, warn, error] = [write('debug'), write('info'), write('warn'), write('error')]
  return { debug, info, warn, error, child: (more) => logInto(sink, { ...bindings, ...more }) }
}

const logLine = (level: string, fields: LogFields, event: string): string =>
  `${JSON.stringify({ time: systemClock.wallMs(), level, event, ...fields })}\n`
