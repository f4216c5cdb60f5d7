import { readdirSync, readFileSync } from 'node:fs'

export interface ProcessFacts {
  readonly pid: number
  /** Field 22 of /proc/PID/stat (proc(5)): with the pid it names a process for this boot. */
  readonly startTicks: number
  readonly state: string
}

/** What /proc shows of a pid; undefined where there is no such process, or only its zombie. */
export function readProcess(pid: number): ProcessFacts | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The command name stands in parentheses and may hold anything, parentheses included.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const state = fields[0] ?? ''
    if (state === 'Z' || state === 'X') return undefined
    return { pid, startTicks: Number(fields[19]), state }
  } catch {
    return undefined // no such process
  }
}

export const isSameProcess = (pid: number, startTicks: number): boolean => readProcess(pid)?.startTicks === startTicks

/** Whether the process sits in a cgroup whose path has `name` as a part, in any hierarchy. */
export function isInCgroup(pid: number, name: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/cgroup`, 'utf8')
      .split('\n')
      .some((line) => line.split('/').includes(name))
  } catch {
    return false // no such process
  }
}

/** Whether the process is the first of a pid namespace of its own (proc(5), `NSpid`: its ids from the outermost namespace in). */
export function isFirstOfNamespace(pid: number): boolean {
  try {
    const ids = /^NSpid:\s*(.*)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]?.split(/\s+/) ?? []
    return ids.length > 1 && ids.at(-1) === '1'
  } catch {
    return false // it has ended
  }
}

/** Empty for one that has ended. */
export function argumentsOf(pid: number): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
  } catch {
    return [] // it has ended
  }
}

/** Pids of processes that have `argument` as one of theirs. Reads all of /proc: for recovery, not for every day. */
export function findByArgument(argument: string): readonly number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => argumentsOf(pid).includes(argument))
}

/** Ends a process with its group, or alone where it leads none. One that has ended is no error. */
export function killGroup(pid: number): void {
  for (const target of [-pid, pid]) {
    try {
      process.kill(target, 'SIGKILL')
    } catch {
      // No such group or process.
    }
  }
}
