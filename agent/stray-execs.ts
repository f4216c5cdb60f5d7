import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { findByArgument, isInCgroup } from '../isolators/runtime/oci/process-table.ts'

/**
 * Ends the programs that somebody, or a probe, ran in the container through an agent that has died: nobody reads them any more,
 * and nobody else would ever end them. Each has a file with its pid in the bundle; its runtime has that file's path as an argument.
 */
export function endStrayExecs(bundleDir: string, containerId: string): number {
  const files = list(bundleDir).filter((name) => /^(exec|probe)-[0-9a-f]+\.(pid|process)$/.test(name))
  for (const name of files) {
    const path = join(bundleDir, name)
    const pid = name.endsWith('.pid') ? readPid(path) : undefined
    if (pid !== undefined && isInCgroup(pid, containerId)) kill(pid)
    for (const runtime of findByArgument(path)) kill(runtime)
    rmSync(path, { force: true })
  }
  return files.length
}

function list(path: string): readonly string[] {
  try {
    return readdirSync(path)
  } catch {
    return [] // the bundle is gone
  }
}

function readPid(path: string): number | undefined {
  try {
    const text = readFileSync(path, 'utf8').trim()
    return /^[1-9]\d{0,8}$/.test(text) && text !== '1' ? Number(text) : undefined
  } catch {
    return undefined // not written yet
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has just ended.
  }
}
