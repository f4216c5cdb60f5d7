import { join } from 'node:path'
import { Fault } from '../../base/fault.ts'
import { diskFiles, type LedgerFiles } from './files.ts'
import { ledgerLevel, newerLedger } from './level.ts'
import { scanLedger } from './salvage.ts'
import { ledgerName, ledgerNumber } from './snapshot.ts'
import { LedgerState } from './view.ts'

/**
 * What the ledger of a directory says, without owning, repairing or changing it: also while an agent writes it. Damaged
 * stretches are in `quarantined`, as if the agent had opened it. Throws `Fault('unsupported')` for a ledger of a newer agent.
 */
export async function readLedger(directory: string, files: LedgerFiles = diskFiles): Promise<LedgerState> {
  const state = new LedgerState()
  const names = await files.list(directory).catch(() => []) // none was ever written here
  const numbers = names.flatMap((name) => ledgerNumber(name) ?? []).sort((a, b) => b - a)
  for (const number of numbers) {
    const file = ledgerName(number)
    const bytes = await files.read(join(directory, file))
    if (bytes.length === 0) continue
    for (const item of scanLedger(bytes, number).items) {
      const head = item.kind === 'record' ? item.record.head : null
      if (head !== null && head.format > ledgerLevel) throw new Fault('unsupported', newerLedger(directory, head))
      state.apply(item.kind === 'record' ? item.record : { quarantine: { ...item, file } })
    }
    break
  }
  return state
}
