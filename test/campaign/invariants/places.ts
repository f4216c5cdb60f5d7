import { createHash } from 'node:crypto'
import { join } from 'node:path'

/** Where one agent's world lies. */
export interface Places {
  readonly stateDir: string
  /** Where the boot-bound files may lie, on a tmpfs: docs/architecture.md, "Where things lie". */
  readonly bootDirs: readonly string[]
  /** The cgroup that holds all containers. */
  readonly cgroupParent: string
  /** Mounted into every task; programs leave their marks there (marks.ts). */
  readonly marksDir: string
}

export const bootDirsOf = (stateDir: string): readonly string[] => {
  const name = `hearth-${createHash('sha256').update(join(stateDir, 'run')).digest('hex').slice(0, 16)}`
  return ['/run', '/dev/shm'].map((root) => join(root, name))
}

/** Whether a text (a command line, a mount) names the world. */
export const namesWorld = (places: Places, text: string): boolean =>
  [places.stateDir, ...places.bootDirs].some((path) => text.includes(path))
