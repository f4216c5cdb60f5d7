import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { argumentsOf, findByArgument, type ProcessFacts, readProcess } from './process-table.ts'

/** The living monitor of a container; undefined where there is none. The pid in its file may since belong to any other process. */
export function findMonitor(bundleDir: string, containerId: string): ProcessFacts | undefined {
  const written = readPid(join(bundleDir, 'conmon.pid'))
  if (written !== undefined && isMonitor(written, containerId)) return readProcess(written)
  // The file may be damaged, or the monitor about to write it.
  const pid = findByArgument(containerId).find((candidate) => isMonitor(candidate, containerId))
  return pid === undefined ? undefined : readProcess(pid)
}

function isMonitor(pid: number, containerId: string): boolean {
  const words = argumentsOf(pid)
  return words.includes(containerId) && words.includes('--conmon-pidfile')
}

export function readPid(path: string): number | undefined {
  try {
    const text = readFileSync(path, 'utf8').trim()
    return /^[1-9]\d{0,8}$/.test(text) && text !== '1' ? Number(text) : undefined
  } catch {
    return undefined // not written yet, or never
  }
}
