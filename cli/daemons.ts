import { spawn } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readFileSync, statSync } from 'node:fs'
import { dirname, isAbsolute, join } from 'node:path'
import { systemClock } from '../base/clock.ts'
import { errnoOf, Fault, isFault } from '../base/fault.ts'
import type { CommonOptions, Context } from './context.ts'
import { makeFolder } from './make-folder.ts'
import { awaitEnd, signalProcess } from './process-identity.ts'
import { daemonLog, type StateLayout, stateLayout } from './state-layout.ts'
import { livingDaemons, readSupervisorFile, type SupervisorFile } from './supervisor-file.ts'

/** A daemon that came down this often before it was needed will not come up. */
const mostRestarts = 3
const logLines = 15

/** Throws the `Fault` that keeps daemons from being started here. */
export function prepareHost(context: Context, options: CommonOptions, command: string): StateLayout {
  const { stateDir } = context.settings(options)
  checkStateDir(stateDir)
  if (process.getuid?.() !== 0) throw new Fault('denied', `${command} starts daemons and needs root; try: sudo ${command}`)
  return stateLayout(stateDir)
}

function checkStateDir(stateDir: string): void {
  if (!isAbsolute(stateDir)) throw new Fault('invalid', `--state-dir must be an absolute path, not ${JSON.stringify(stateDir)}`)
  // A unix socket's path is at most 107 bytes; the longest of ours lies in run/.
  const longest = 107 - '/run/agents.sock'.length
  if (Buffer.byteLength(stateDir) > longest) throw new Fault('invalid', `--state-dir may have at most ${longest} bytes`)
}

export function makeFolders(layout: StateLayout): void {
  try {
    makeFolder(layout.stateDir, 0o711)
    makeFolder(layout.run, 0o711)
    mkdirSync(layout.logs, { recursive: true, mode: 0o750 })
  } catch (e) {
    const code = errnoOf(e) === 'ENOSPC' ? 'exhausted' : 'invalid'
    throw new Fault(code, `the state directory ${layout.stateDir} cannot be made (${errnoOf(e) ?? String(e)})`, {}, e)
  }
}

/** Daemons whose supervisor was killed: their tasks go on, and the new daemons take them over. */
export async function endOrphans(file: SupervisorFile, signal: AbortSignal): Promise<void> {
  for (const daemon of [...livingDaemons(file)].reverse()) {
    signalProcess(daemon.process, 'SIGTERM')
    if (await awaitEnd(daemon.process, 20_000, systemClock, signal)) continue
    throw new Fault('conflict', `${daemon.name} (process ${daemon.process.pid}) of an earlier start does not end; end it by hand`)
  }
}

interface Supervised {
  /** Empty: as the environment or the default says. */
  readonly http: string
  /** As `http`, of other hosts. */
  readonly listen: string
  /** Empty: all. */
  readonly daemons: readonly ('master' | 'agent')[]
}

/** A process of its own that outlives this one. */
export function startSupervisor(context: Context, layout: StateLayout, { http, listen, daemons }: Supervised): void {
  const program = join(dirname(process.argv[1] ?? ''), 'supervise.cjs')
  const output = openSync(daemonLog(layout, 'supervisor'), 'a', 0o640)
  const child = spawn(process.execPath, [program, layout.stateDir, http, daemons.join(',')], {
    cwd: '/',
    detached: true,
    env: { ...context.env, ...(listen === '' ? {} : { HEARTH_LISTEN: listen }) },
    stdio: ['ignore', output, output]
  })
  closeSync(output)
  child.unref()
}

/** Throws `Fault('unavailable')` once a daemon has come down so often that it will not come up. */
export function failOnCrashes(layout: StateLayout): void {
  const crashed = readSupervisorFile(layout)?.daemons.find((d) => d.restarts >= mostRestarts)
  if (crashed === undefined) return
  const { name, lastExit } = crashed
  throw new Fault('unavailable', `the ${name} does not stay up (${lastExit}); see ${daemonLog(layout, name)}`, { daemon: name })
}

/** Of the daemon that failed, where one is known to have. */
export function lastLogLines(layout: StateLayout, failure: unknown): string {
  const daemon = isFault(failure) ? failure.detail['daemon'] : undefined
  const names = typeof daemon === 'string' ? [daemon] : ['master', 'agent', 'supervisor']
  return names.map((name) => tailOf(daemonLog(layout, name))).join('')
}

function tailOf(path: string): string {
  if (statSync(path, { throwIfNoEntry: false }) === undefined) return ''
  const lines = readFileSync(path, 'utf8').trimEnd().split('\n').slice(-logLines)
  return lines.join('') === '' ? '' : `--- the last lines of ${path}\n${lines.join('\n')}\n`
}
