import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { errnoOf, Fault } from '../base/fault.ts'
import { isAlive, type ProcessIdentity } from './process-identity.ts'
import type { StateLayout } from './state-layout.ts'
import type { DaemonState } from './supervisor.ts'

/** run/supervisor.json: who keeps the daemons, and which they are. Boot-bound, so it is not synced to the disk. */
export interface SupervisorFile {
  readonly process: ProcessIdentity
  readonly http: string
  readonly daemons: readonly DaemonState[]
}

export function writeSupervisorFile(layout: StateLayout, file: SupervisorFile): void {
  const draft = `${layout.supervisor}.draft`
  writeFileSync(draft, `${JSON.stringify(file)}\n`, { mode: 0o644 })
  renameSync(draft, layout.supervisor)
}

export function readSupervisorFile(layout: StateLayout): SupervisorFile | undefined {
  let text: string
  try {
    text = readFileSync(layout.supervisor, 'utf8')
  } catch (e) {
    if (errnoOf(e) === 'ENOENT' || errnoOf(e) === 'ENOTDIR') return undefined
    if (errnoOf(e) === 'EACCES') throw new Fault('denied', `${layout.supervisor} cannot be read; use sudo`, {}, e)
    throw e
  }
  try {
    return JSON.parse(text) as SupervisorFile
  } catch (cause) {
    throw new Fault('corrupt', `${layout.supervisor} is damaged; end the hearth processes by hand and remove it`, {}, cause)
  }
}

export const removeSupervisorFile = (layout: StateLayout): void => rmSync(layout.supervisor, { force: true })

/** The daemons of that file which still live, whether or not their supervisor does. */
export const livingDaemons = (file: SupervisorFile): readonly (DaemonState & { readonly process: ProcessIdentity })[] =>
  file.daemons.filter((d): d is DaemonState & { readonly process: ProcessIdentity } => d.process !== null && isAlive(d.process))
