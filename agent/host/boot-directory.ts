import { createHash } from 'node:crypto'
import { lstatSync, mkdirSync, readdirSync, readlinkSync, rmSync, statfsSync, statSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'

/** What dies with the boot anyway: bundles, exit codes, the runtimes' own state. */
const parts = ['c', 'exits', 'oci'] as const
/** linux/magic.h */
const tmpfsMagic = 0x01021994

/**
 * Puts the boot-bound files of the containers onto a tmpfs, where the host has one that only root writes below: an exit code then
 * finds room however full the disk is, and making and removing a bundle takes a quarter of the time. `runDir` keeps links to them.
 * What a directory of `runDir` holds already stays there, for a container may be using it. Answers where they lie: an absolute
 * path without links, for the runtime takes no root behind one. Repeatable; throws where `runDir` cannot be written.
 */
export function placeBootDirectory(runDir: string, candidates: readonly string[] = ['/run', '/dev/shm']): string {
  mkdirSync(runDir, { recursive: true, mode: 0o711 })
  if (isOn(runDir, candidates) || isUsed(join(runDir, 'c')) || isUsed(join(runDir, 'exits'))) return runDir
  for (const candidate of candidates) {
    const place = isTmpfs(candidate) ? ownDirectory(join(candidate, bootDirectoryName(runDir))) : undefined
    if (place === undefined) continue
    for (const part of parts) {
      mkdirSync(join(place, part), { recursive: true, mode: part === 'exits' ? 0o700 : 0o711 })
      link(join(place, part), join(runDir, part))
    }
    return place
  }
  return runDir
}

/** Once no container is left: as long as there is one its monitor needs the directory of the exit codes, though it be empty. */
export function removeBootDirectory(runDir: string, place: string): void {
  if (place === runDir || isUsed(join(place, 'c'))) return
  rmSync(place, { recursive: true, force: true })
  for (const part of parts) rmSync(join(runDir, part), { force: true })
}

/** Of a directory on a tmpfs, by whom it belongs to. */
export const bootDirectoryName = (runDir: string): string =>
  `hearth-${createHash('sha256').update(runDir).digest('hex').slice(0, 16)}`

/** Not merely any tmpfs: one that holds the state directory as well may be as full as a disk. */
const isOn = (path: string, candidates: readonly string[]): boolean =>
  candidates.some((c) => isTmpfs(c) && statSync(c).dev === statSync(path).dev)

function isTmpfs(path: string): boolean {
  try {
    return statfsSync(path).type === tmpfsMagic
  } catch {
    return false // not on this host
  }
}

const isUsed = (path: string): boolean =>
  lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true && readdirSync(path).length > 0

/** /dev/shm is open to everybody: a directory that is there already counts only where nobody else can write into it. */
function ownDirectory(path: string): string | undefined {
  try {
    mkdirSync(path, { mode: 0o711 })
  } catch {
    // It is there already, or there is no permission or no room: the look tells, and containers may be using it.
  }
  const facts = lstatSync(path, { throwIfNoEntry: false })
  const own = facts?.isDirectory() === true && facts.uid === process.getuid?.() && (facts.mode & 0o022) === 0
  return own ? path : undefined
}

function link(target: string, path: string): void {
  const facts = lstatSync(path, { throwIfNoEntry: false })
  if (facts?.isSymbolicLink() === true && readlinkSync(path) === target) return
  if (facts !== undefined) rmSync(path, { recursive: facts.isDirectory() })
  symlinkSync(target, path)
}
