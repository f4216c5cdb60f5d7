import { Fault, type FaultDetail } from '../../../base/fault.ts'

interface Row {
  readonly pattern: RegExp
  readonly code: 'invalid' | 'unavailable' | 'exhausted'
  readonly reason: string
  readonly say: (program: string) => string
}

/** What runc and crun say, in the order of looking; the words were seen from runc 1.1.5 and crun 1.8.1. */
const rows: readonly Row[] = [
  {
    pattern:
      /executable file not found|executable file `[^`]*` not found|no such file or directory.*\bexec|exec:? .*no such file or directory|stat .*: no such file or directory/i,
    code: 'invalid',
    reason: 'program_not_found',
    say: (program) => `there is no program ${program} in the image; give a path that exists there, or another image`
  },
  {
    pattern: /exec:? .*permission denied|exec.*: is a directory|exec format error|open executable: Permission denied/i,
    code: 'invalid',
    reason: 'program_not_executable',
    say: (program) => `${program} cannot be executed; it needs the x permission and this machine’s format`
  },
  {
    pattern: /no space left on device/i,
    code: 'exhausted',
    reason: 'disk_full',
    say: () => 'no space is left on the node’s disk'
  },
  {
    pattern:
      /OOM-killed|memory limit too low|(cannot|unable to) set memory limit|memory\.limit_in_bytes|memory\.max|container_linux.*signal: killed|procReady not received|reading from parent failed|unexpected EOF|init.*EOF/i,
    code: 'invalid',
    reason: 'memory_too_small',
    say: () => 'the memory limit is too small to start a container; give it 16 MB or more'
  },
  {
    pattern: /chdir to cwd|cwd .*(no such file|not a directory)|mkdir .*cwd/i,
    code: 'invalid',
    reason: 'launch_failed',
    say: () => 'the working directory cannot be entered'
  }
]

/** Turns the runtime's own words into one sentence; they stay in `detail.runtime`, shortened. */
export function launchFault(message: string, program: string, memoryLimited: boolean): Fault {
  const row = rows.find((r) => r.pattern.test(message) && (r.reason !== 'memory_too_small' || memoryLimited))
  const detail: FaultDetail = { reason: row?.reason ?? 'launch_failed', runtime: message.slice(0, 500) }
  if (row === undefined)
    return new Fault('unavailable', `the runtime could not start the container: ${lastClause(message)}`, detail)
  return new Fault(row.code, row.say(JSON.stringify(program)), detail)
}

const lastClause = (message: string): string => message.trim().split('\n').at(-1)?.slice(-300) ?? ''
