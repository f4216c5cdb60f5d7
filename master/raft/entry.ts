/** `conf-change` carries exactly one change, `conf-change-v2` any number with a transition (conf-change-codec.ts). */
export type EntryType = 'normal' | 'conf-change' | 'conf-change-v2'

/** Never reorder: the place is the number in logs and messages. */
export const entryTypes: readonly EntryType[] = ['normal', 'conf-change', 'conf-change-v2']

/** One position of the log. Entries are shared between log, messages and storage, so nobody may change one. */
export interface Entry {
  readonly term: number
  readonly index: number
  readonly type: EntryType
  readonly data: Uint8Array
}

/** What is to become an entry once a leader gives it term and index. */
export interface Proposal {
  readonly type: EntryType
  readonly data: Uint8Array
}

export const noData = new Uint8Array(0)
export const noEntries: readonly Entry[] = []

/** Terms and indexes fit 53 bits: the wire refuses what does not. */
function varintBytes(value: number): number {
  let bytes = 1
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) bytes++
  return bytes
}

/** Bytes of one entry as protobuf has it: what the limits on messages and on apply work count. */
function entryBytes(entry: Entry): number {
  const data = entry.data.length
  return 4 + varintBytes(entry.term) + varintBytes(entry.index) + (data === 0 ? 0 : 1 + varintBytes(data) + data)
}

export function entriesBytes(entries: readonly Entry[]): number {
  let bytes = 0
  for (const entry of entries) bytes += entryBytes(entry)
  return bytes
}

/** Bytes of the users' payload alone: the limits on uncommitted and on in-flight bytes count these. */
export function payloadBytes(entries: readonly Proposal[]): number {
  let bytes = 0
  for (const entry of entries) bytes += entry.data.length
  return bytes
}

/** The longest prefix within `maxBytes`, but never less than one entry: a large entry must still get through. */
export function limitBytes(entries: readonly Entry[], maxBytes: number): readonly Entry[] {
  let bytes = 0
  for (const [at, entry] of entries.entries()) {
    bytes += entryBytes(entry)
    if (bytes > maxBytes && at > 0) return entries.slice(0, at)
  }
  return entries
}
