import { readFileSync } from 'node:fs'

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
