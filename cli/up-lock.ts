import { closeSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { errnoOf, Fault } from '../base/fault.ts'
import { makeFolder } from './make-folder.ts'
import { identityOf, isAlive, type ProcessIdentity } from './process-identity.ts'
import type { StateLayout } from './state-layout.ts'

/** One `up` or `down` at a time for a state directory. A lock whose holder is dead is taken over. Returns the release. */
export function takeUpLock(layout: StateLayout): () => void {
  makeFolder(layout.run, 0o711)
  for (let attempt = 0; attempt < 2; attempt += 1) {
    if (tryCreate(layout.upLock)) return () => rmSync(layout.upLock, { force: true })
    const holder = holderOf(layout.upLock)
    if (holder !== undefined && isAlive(holder)) {
      throw new Fault(
        'conflict',
        `another hearth up or down is at work on ${layout.stateDir} (process ${holder.pid}); wait for it`
      )
    }
    rmSync(layout.upLock, { force: true })
  }
  throw new Fault('conflict', `another hearth up or down began on ${layout.stateDir} at the same moment; try again`)
}

function tryCreate(path: string): boolean {
  try {
    const file = openSync(path, 'wx', 0o600)
    writeSync(file, JSON.stringify(identityOf(process.pid)))
    closeSync(file)
    return true
  } catch (e) {
    if (errnoOf(e) === 'EEXIST') return false
    throw e
  }
}

function holderOf(path: string): ProcessIdentity | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as ProcessIdentity
  } catch {
    return undefined // released meanwhile, or its holder died before it wrote
  }
}
