import { mkdirSync, statSync } from 'node:fs'
import { dirname } from 'node:path'

/** With those above it. Not `recursive`: Node then tries for ever where a folder that is there takes no new ones, as in /proc. */
export function makeFolder(path: string, mode = 0o755): void {
  if (isFolder(path)) return
  if (dirname(path) !== path) makeFolder(dirname(path), mode)
  try {
    mkdirSync(path, { mode })
  } catch (e) {
    if (!isFolder(path)) throw e // else another hearth made it at the same moment
  }
}

const isFolder = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true
