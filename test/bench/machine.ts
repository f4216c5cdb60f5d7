import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cpus, loadavg, release, totalmem } from 'node:os'

export function machineFacts(): Readonly<Record<string, string | number>> {
  const all = cpus()
  return {
    cpu: all[0]?.model.trim() ?? 'unknown',
    cores: all.length,
    memoryGb: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    loadBefore: loadavg()[0]?.toFixed(2) ?? ''
  }
}

/** Each program's first line about itself; `absent` where it cannot be run. */
export function versionFacts(): Readonly<Record<string, string>> {
  return {
    node: process.versions.node,
    runc: firstLine('runc', ['--version']),
    crun: firstLine('crun', ['--version']),
    conmon: firstLine('conmon', ['--version']),
    docker: firstLine('dockerd', ['--version'])
  }
}

export function firstLine(program: string, args: readonly string[]): string {
  try {
    const text = execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
    return /\d+\.\d+[^\s,]*/.exec(text)?.[0] ?? text.split('\n')[0] ?? ''
  } catch {
    return 'absent'
  }
}

export const isThere = (program: string): boolean => firstLine(program, ['--version']) !== 'absent'

export function commitOf(directory: string): string {
  try {
    const git = (args: readonly string[]): string =>
      execFileSync('git', ['-C', directory, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
    const changed = git(['status', '--porcelain', '--untracked-files=no']) === '' ? '' : ' with changes'
    return `${git(['rev-parse', '--short=12', 'HEAD'])}${changed}`
  } catch {
    return 'unknown'
  }
}

/** Milliseconds of CPU that the whole machine has used since it started; /proc/stat counts in hundredths of a second. */
export function machineCpuMs(): number {
  const [, user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = (readFileSync('/proc/stat', 'utf8').split('\n')[0] ?? '')
    .split(/\s+/)
    .map(Number)
  return (user + nice + system + irq + softirq) * 10
}

/** User and system time of a process with all its threads (proc(5), stat, fields 14 and 15). */
export function processCpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) * 10
}

export const rssMb = (pid: number): number => kilobytes(`/proc/${pid}/status`, 'VmRSS') / 1024
export const pssMb = (pid: number): number => kilobytes(`/proc/${pid}/smaps_rollup`, 'Pss') / 1024

function kilobytes(file: string, row: string): number {
  return Number(new RegExp(`^${row}:\\s+(\\d+) kB`, 'm').exec(readFileSync(file, 'utf8'))?.[1] ?? Number.NaN)
}
