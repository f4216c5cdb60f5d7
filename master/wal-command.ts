import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Fault } from '../base/fault.ts'
import { readIdentity } from './identity.ts'
import { SnapshotDecoder } from './state/snapshot.ts'
import { systemDisk } from './store/disk.ts'
import { readRecords } from './store/records.ts'
import { recoverLog } from './store/recovery.ts'
import { listSnapshots, readSnapshot } from './store/snapshots.ts'

const options = {
  'state-dir': { type: 'string', default: '/var/lib/hearth' },
  json: { type: 'boolean', default: false }
} as const

/**
 * `inspect` prints every record of the log, `verify` reads log and snapshots as a start would. Both read files alone and change
 * nothing. Throws `Fault('corrupt')` that names file and offset.
 */
export async function walCommand(argv: readonly string[], write: (text: string) => void): Promise<number> {
  const { values, positionals } = parseArgs({ args: [...argv], allowPositionals: true, options })
  const stateDir = values['state-dir']
  const directory = join(stateDir, 'master')
  if (positionals[0] === 'inspect') await inspect(join(directory, 'wal'), values.json, write)
  else if (positionals[0] === 'verify') await verify(stateDir, directory, values.json, write)
  else throw new Fault('invalid', 'hearth raft wal takes inspect or verify')
  return 0
}

async function inspect(wal: string, json: boolean, write: (text: string) => void): Promise<void> {
  for await (const line of readRecords(systemDisk, wal)) {
    const { segment, offset, kind, index, term, bytes, what } = line
    if (json) write(`${JSON.stringify(line)}\n`)
    else {
      const place = `${String(segment).padStart(5)} ${String(offset).padStart(9)}  ${kind.padEnd(10)}`
      write(`${place} ${String(index).padStart(9)} ${String(term).padStart(6)} ${String(bytes).padStart(8)}  ${what}\n`)
    }
  }
}

async function verify(stateDir: string, directory: string, json: boolean, write: (text: string) => void): Promise<void> {
  const identity = await readIdentity(stateDir)
  if (identity === undefined) throw new Fault('not-found', `${stateDir} is the state directory of no master: name another`)
  const snapshots = join(directory, 'snapshots')
  const indexes = await listSnapshots(systemDisk, snapshots)
  for (const index of indexes) {
    const decoder = new SnapshotDecoder()
    await readSnapshot(systemDisk, snapshots, index, (message) => decoder.push(message))
    decoder.finish()
  }
  const log = await recoverLog(systemDisk, join(directory, 'wal'), identity, indexes.at(-1) ?? 0)
  if (log === undefined) throw new Fault('not-found', `${directory} holds no log: a master has never started there`)
  const { firstIndex, lastIndex, lastTerm, hardState, segments, tail } = log
  const { tornBytes } = tail
  const report = {
    ...identity,
    firstIndex,
    lastIndex,
    lastTerm,
    hardState,
    segments: segments.length,
    tornBytes,
    snapshots: indexes
  }
  const torn = tornBytes === 0 ? '' : `, ${tornBytes} bytes of an unfinished write at its end`
  const taken = indexes.length === 0 ? 'no snapshot' : `snapshots of ${indexes.join(', ')}`
  const text = `sound: entries ${firstIndex} to ${lastIndex} in ${segments.length} segment${segments.length === 1 ? '' : 's'}${torn}; ${taken}; term ${hardState.term}\n`
  write(json ? `${JSON.stringify(report, null, 2)}\n` : text)
}
