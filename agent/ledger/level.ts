import { Fault } from '../../base/fault.ts'
import { hearthVersion } from '../../base/version.ts'
import type { Init } from '../../proto/codec.ts'
import { hasUnknownFields } from '../../proto/fields.ts'
import type { LedgerHead, LedgerRecord } from '../../proto/gen/messages.ts'
import type { LedgerView } from '../ports.ts'
import type { LedgerItem, LedgerScan } from './salvage.ts'

/**
 * What the records of a ledger presuppose of their reader. The head carries the level; who knows less refuses to read. A version
 * on trial leaves it as it is (docs/decisions/0013), so that the one before can go on with what was written meanwhile.
 *
 *   1  the beginning
 *   2  the head names the version that raised the level
 *   3  the next attempt of a task is a record of its own (`restart`), which takes its group from the one before it
 *   4  rows of containers that share namespaces (`pod`), and one record for all of a pod
 */
declare const HEARTH_LEDGER_LEVEL: number | undefined

/** The highest level that this version writes and reads. Builds of tests set another. */
export const ledgerLevel = typeof HEARTH_LEDGER_LEVEL === 'number' ? HEARTH_LEDGER_LEVEL : 4

/** The head as it may be written: its level is the ledger's own where none is named, and nothing above it is in it. */
function headAt(head: Init<LedgerHead>, level: number): Init<LedgerHead> {
  const { version, ...older } = head
  const format = head.format === undefined || head.format === 0 ? level : head.format
  return format >= 2 ? { ...older, format, version: version || hearthVersion } : { ...older, format }
}

/** The record with nothing in it that is above the ledger's level: below 3 the row of a next attempt is one like any other. */
export function recordAt(record: Init<LedgerRecord>, { head, tasks }: LedgerView): Init<LedgerRecord> {
  if (record.head) return { ...record, head: headAt(record.head, head.format) }
  if (record.pod && head.format < 4) {
    const say = `its ledger is still at level ${head.format}, for the version before this one: upgrade the node, or wait until it is confirmed`
    throw new Fault('unsupported', `this node runs no pods yet: ${say}`, { reason: 'unsupported_request' })
  }
  if (!record.restart || head.format >= 3) return record
  const { restart, ...rest } = record
  return { ...rest, task: { ...restart, group: tasks.get(restart.previousContainerId ?? '')?.row.group ?? null } }
}

/** A head that raises the ledger to this version's level, or undefined where it has it. */
export const raised = (head: LedgerHead): LedgerHead | undefined =>
  head.format < ledgerLevel ? { ...head, format: ledgerLevel, version: hearthVersion } : undefined

/** Both versions in one sentence, for the operator. */
export function newerLedger(directory: string, head: LedgerHead): string {
  const by = head.version === '' ? 'a newer version' : `Hearth ${head.version}`
  return (
    `the ledger in ${directory} has level ${head.format}, raised by ${by}; this is Hearth ${hearthVersion}, which knows level ` +
    `${ledgerLevel}: start ${head.version === '' ? 'that version' : `${head.version} or newer`}; nothing was changed`
  )
}

/**
 * What a version wrote above this level before it was taken back, as the damage that it is: from its first newer head on, records
 * that only it knows, and the level itself. The identity in its heads is readable and stands.
 */
export function withoutNewer(scan: LedgerScan, rejectedVersion: string): LedgerScan {
  let above = false
  const items = scan.items.flatMap((item): readonly LedgerItem[] => {
    if (item.kind === 'gap') return [item]
    const { record, offset, bytes } = item
    const newer = record.head !== null && record.head.format > ledgerLevel
    above ||= newer
    if (!newer && !(above && hasUnknownFields(record))) return [item]
    const why = `written by ${rejectedVersion}, which was taken back, above level ${ledgerLevel}`
    const gap: LedgerItem = { kind: 'gap', offset, bytes, why }
    const head = record.head === null ? null : { ...record.head, format: ledgerLevel, version: hearthVersion }
    return head === null ? [gap] : [gap, { ...item, record: { ...record, head } }]
  })
  return { ...scan, items }
}
