import { adviceOf, bounded, type Cause, type CauseKind, type Certainty } from './cause.ts'
import type { KernelEvent } from './kernel-event.ts'
import type { SignalEvent } from './signal-event.ts'

/** Everything that was seen of one end. */
export interface Evidence {
  readonly state: string
  /** The reason of the status, a word of proto/types.proto. */
  readonly reason: string
  readonly message: string
  readonly exitCode: number | undefined
  readonly signal: number | undefined
  readonly containerId: string
  /** Of the container's first process; undefined where it never ran. */
  readonly pid: number | undefined
  /** Kills by the out-of-memory killer that the container's own cgroup counted. */
  readonly oomKills: number
  readonly memoryLimitBytes: number
  readonly diskFull: boolean
  readonly kernel: readonly KernelEvent[]
  /** undefined where this node does not tell who sends signals. */
  readonly signals: readonly SignalEvent[] | undefined
  /** CLOCK_MONOTONIC, when the end was seen. */
  readonly nowSeconds: number
  /** The last lines it wrote. */
  readonly lastLines: readonly string[]
  /** What a process id is now, for people; undefined where it is gone. */
  readonly describe: (pid: number) => string | undefined
}

/** What happened earlier than this explains no end. */
const recentSeconds = 10
const names: Readonly<Record<number, string>> = {
  1: 'SIGHUP',
  2: 'SIGINT',
  3: 'SIGQUIT',
  4: 'SIGILL',
  5: 'SIGTRAP',
  6: 'SIGABRT',
  7: 'SIGBUS',
  8: 'SIGFPE',
  9: 'SIGKILL',
  11: 'SIGSEGV',
  13: 'SIGPIPE',
  15: 'SIGTERM',
  31: 'SIGSYS'
}
const signalName = (signal: number): string => names[signal] ?? `signal ${signal}`
const faultSignals = new Set([4, 5, 7, 8, 11])

/** Causes of one end, the one that explains it best first. Empty for a program that ended by itself with code 0. Pure. */
export function rankCauses(seen: Evidence): Cause[] {
  if (seen.exitCode === undefined) return bounded(withoutExit(seen))
  const decided = decidedCause(seen)
  if (decided === undefined && seen.exitCode === 0) return []
  return bounded([...(decided === undefined ? [] : [decided]), ...ownCauses(seen, decided !== undefined)])
}

const cause = (kind: CauseKind, certainty: Certainty, summary: string, evidence: readonly string[] = []): Cause => ({
  kind,
  certainty,
  summary,
  evidence,
  advice: adviceOf[kind]
})

const askedReasons = new Set(['killed_during_launch', 'kill_requested'])

function withoutExit(seen: Evidence): Cause[] {
  const { reason, message } = seen
  if (askedReasons.has(reason)) return [cause('operator', 'proved', 'it was asked to end', [message])]
  if (reason === 'node_stopped') return [cause('node_stop', 'proved', 'the node’s workloads were stopped', [message])]
  if (reason === 'node_rebooted') return [cause('node_reboot', 'proved', 'the node restarted while the task was on it')]
  if (reason === 'lease_expired') return [cause('lease', 'proved', message)]
  if (reason === 'pod_ended') return [cause('pod', 'proved', message)]
  if (reason === 'probe_failed') return [cause('probe', 'proved', message)]
  if (reason === 'exit_unknown') {
    const lost = cause('monitor_lost', 'likely', 'it ended while nothing watched it, so its exit code is not known', [message])
    return [...memoryCauses(seen, seen.oomKills > 0), lost]
  }
  return [cause('refusal', 'proved', message, [`reason ${reason}`])]
}

/** What was decided before the program ended; the reason of the status says so. */
function decidedCause(seen: Evidence): Cause | undefined {
  const { reason, message } = seen
  switch (reason) {
    case 'limit_disk':
      return cause('disk_limit', 'proved', message)
    case 'probe_failed':
      return cause('probe', 'proved', message)
    case 'lease_expired':
      return cause('lease', 'proved', message)
    case 'pod_ended':
      return cause('pod', 'proved', message)
    case 'node_stopped':
      return cause('node_stop', 'proved', 'the node’s workloads were stopped')
    case 'kill_requested':
      return cause('operator', 'proved', 'it was asked to end', [message])
    default:
      return undefined
  }
}

/** What the program, its limits or others did; second to what was decided, and then without guesses. */
function ownCauses(seen: Evidence, isDecided: boolean): Cause[] {
  const { exitCode = 0 } = seen
  const sure = [...memoryCauses(seen, isOomTheEnd(seen)), ...pidsCauses(seen)]
  if (isDecided) return [...sure, ...(exitCode === 0 ? [] : [exitCause(seen, 'possible')])]
  const full = diskCauses(seen)
  const earlier = isOomTheEnd(seen) ? [] : memoryCauses(seen, true)
  const rest =
    seen.signal === undefined
      ? [exitCause(seen, sure.length + full.length > 0 ? 'possible' : 'proved')]
      : signalCauses(seen, sure.length > 0)
  return [...sure, ...full, ...rest, ...earlier]
}

function exitCause({ exitCode = 0, lastLines }: Evidence, certainty: Certainty): Cause {
  const known: Readonly<Record<number, string>> = {
    126: 'the shell found the program and could not execute it',
    127: 'the shell did not find the program'
  }
  const last = lastLines.at(-1)
  const evidence = [
    ...(known[exitCode] === undefined ? [] : [known[exitCode]]),
    ...(last === undefined ? [] : [`last line: ${last}`])
  ]
  return cause('exit_code', certainty, `the program ended itself with exit code ${exitCode}`, evidence)
}

const isRecent = (seen: Evidence, event: { readonly atSeconds: number }): boolean =>
  Math.abs(seen.nowSeconds - event.atSeconds) <= recentSeconds

const isWithin = (seen: Evidence, path: string): boolean => path.split('/').includes(seen.containerId)

function oomsOf(seen: Evidence): Extract<KernelEvent, { kind: 'oom' }>[] {
  return seen.kernel.flatMap((event) => (event.kind === 'oom' && isWithin(seen, event.path) ? [event] : []))
}

/** Whether the out-of-memory killer is what ended it, and not an earlier child that the program went on without. */
function isOomTheEnd(seen: Evidence): boolean {
  const ooms = oomsOf(seen)
  if (seen.exitCode === 0 || (seen.oomKills === 0 && ooms.length === 0)) return false
  if (seen.signal === 9 || ooms.length === 0) return true
  return ooms.some((event) => isRecent(seen, event))
}

function memoryCauses(seen: Evidence, applies: boolean): Cause[] {
  const ooms = oomsOf(seen)
  const last = ooms.at(-1)
  if (!applies || (seen.oomKills === 0 && last === undefined)) return []
  const isEnd = isOomTheEnd(seen) || seen.exitCode === undefined
  const evidence = [
    ...(last === undefined
      ? []
      : [
          `kernel: out of memory, killed ${last.comm} (process ${last.pid})${last.pid === seen.pid ? ', its first process' : ''}`
        ]),
    ...(seen.oomKills === 0 ? [] : [`its cgroup counts ${seen.oomKills} kills by the out-of-memory killer`]),
    ...(seen.memoryLimitBytes > 0 ? [`its limit is ${Math.round(seen.memoryLimitBytes / 1024 / 1024)} MiB`] : [])
  ]
  const certainty = isEnd ? 'proved' : 'possible'
  const isOwn = last === undefined ? seen.memoryLimitBytes > 0 : last.scope === 'limit' && isWithin(seen, last.limitPath)
  if (isOwn)
    return [
      cause(
        'memory_limit',
        certainty,
        isEnd ? 'it needed more memory than its limit' : 'a child of it was killed for memory earlier',
        evidence
      )
    ]
  return [
    cause(
      'host_memory',
      certainty,
      'the node, or what holds all its containers, ran out of memory and the kernel chose this task',
      evidence
    )
  ]
}

function pidsCauses(seen: Evidence): Cause[] {
  const refused = seen.kernel.find((event) => event.kind === 'pids' && isWithin(seen, event.path))
  const said = seen.lastLines.find((line) => /can't fork|cannot fork|Resource temporarily unavailable/i.test(line))
  if (refused === undefined || (said === undefined && !isRecent(seen, refused))) return []
  const evidence = ['kernel: fork rejected by the pids controller', ...(said === undefined ? [] : [`last lines: ${said}`])]
  return [
    cause('pids_limit', said === undefined ? 'likely' : 'proved', 'it reached its limit of processes and threads', evidence)
  ]
}

function diskCauses(seen: Evidence): Cause[] {
  const said = seen.lastLines.find((line) => /No space left on device|Disk quota exceeded|ENOSPC/.test(line))
  if (said === undefined && !seen.diskFull) return []
  const evidence = [
    ...(said === undefined ? [] : [`last lines: ${said}`]),
    ...(seen.diskFull ? ['the node’s disk has no room left'] : [])
  ]
  return [cause('disk_full', said === undefined ? 'possible' : 'likely', 'a file system it writes to was full', evidence)]
}

function signalCauses(seen: Evidence, isExplained: boolean): Cause[] {
  const { signal = 0, pid, signals } = seen
  const certainty = (sure: Certainty): Certainty => (isExplained ? 'possible' : sure)
  const recent = (signals ?? []).filter((event) => event.signal === signal && event.delivered && isRecent(seen, event))
  const direct = recent.filter((event) => event.toPid === pid).at(-1)
  if (direct?.byKernel && faultSignals.has(signal)) return [faultCause(seen, direct.toPid, certainty('proved'))]
  if (direct !== undefined && !direct.byKernel && direct.fromPid !== pid) return [senderCause(seen, direct, certainty('proved'))]
  const fault = seen.kernel.filter((event) => event.kind === 'fault' && isRecent(seen, event)).at(-1)
  if (faultSignals.has(signal) && fault?.kind === 'fault') {
    return [faultCause(seen, fault.pid, certainty(fault.pid === pid ? 'proved' : 'likely'))]
  }
  if (signals === undefined) return unknownSender(seen, certainty)
  const child = recent.at(-1)
  if (child?.byKernel && faultSignals.has(signal)) return [faultCause(seen, child.toPid, certainty('likely'))]
  return [childCause(seen, child, certainty)]
}

function faultCause(seen: Evidence, pid: number, certainty: Certainty): Cause {
  const { signal = 0 } = seen
  const line = seen.kernel.filter((event) => event.kind === 'fault' && event.pid === pid).at(-1)
  const what: Readonly<Record<number, string>> = {
    4: 'executed an instruction that does not exist',
    5: 'ran into a breakpoint',
    7: 'touched memory behind the end of a file',
    8: 'made an arithmetic error, such as a division by zero',
    11: 'touched memory that is not its own'
  }
  const who = pid === seen.pid ? 'the program' : 'a child of the program'
  return cause('program_fault', certainty, `${who} ${what[signal] ?? 'failed'} (${signalName(signal)})`, [
    ...(line?.kind === 'fault' ? [`kernel: ${line.what}`] : []),
    ...(pid === seen.pid ? [] : [`process ${pid}; the program passed it on as exit code ${seen.exitCode ?? 0}`])
  ])
}

function senderCause(seen: Evidence, event: SignalEvent, certainty: Certainty): Cause {
  const name = signalName(event.signal)
  const sender = `${event.fromComm} (process ${event.fromPid})`
  const now = seen.describe(event.fromPid)
  return cause('outside_signal', certainty, `${sender} sent ${name} to it from outside the container`, [
    `kernel: ${name} made by ${sender} for process ${event.toPid}`,
    ...(now === undefined ? [] : [`process ${event.fromPid} is ${now}`])
  ])
}

/** The first process was not signalled: it ended itself with the code that shells give for a child's signal. */
function childCause(seen: Evidence, event: SignalEvent | undefined, certainty: (sure: Certainty) => Certainty): Cause {
  const { signal = 0, exitCode = 0 } = seen
  const name = signalName(signal)
  const passedOn = `the program passed it on as exit code ${exitCode}`
  const evidence =
    event === undefined ? [] : [`kernel: ${name} made by ${event.fromComm} (process ${event.fromPid}) for process ${event.toPid}`]
  if (signal === 6)
    return cause('abort', certainty('likely'), `a child of the program aborted (${name})`, [...evidence, passedOn])
  return cause('child_signal', certainty('likely'), `a child of the program was ended by ${name}, and ${passedOn}`, evidence)
}

/** pid 1 of a container gets no signal from within that it does not wish for (pid_namespaces(7)), but any SIGKILL from outside. */
function unknownSender(seen: Evidence, certainty: (sure: Certainty) => Certainty): Cause[] {
  const { signal = 0 } = seen
  const unknown = 'who sends signals is not told on this node: tracefs is not mounted'
  if (signal === 6)
    return [cause('abort', certainty('likely'), `the program, or a child of it, aborted (${signalName(signal)})`, [unknown])]
  if (faultSignals.has(signal))
    return [
      cause('program_fault', certainty('likely'), `the program, or a child of it, failed (${signalName(signal)})`, [unknown])
    ]
  const outside = cause('outside_signal', certainty('possible'), `${signalName(signal)} came from outside the container`, [
    unknown
  ])
  const child = cause(
    'child_signal',
    certainty('possible'),
    `or a child of it was ended by ${signalName(signal)} and the program passed that on`,
    []
  )
  return [outside, child]
}
