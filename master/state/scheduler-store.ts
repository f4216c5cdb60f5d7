import type { Answer, StoreTransaction, StoreWrite } from '../../proto/gen/messages.ts'
import { accepted, isId, refused } from './answer.ts'
import type { ClusterLimits, ClusterState } from './cluster.ts'
import type { OrderedRows } from './ordered-rows.ts'

/** All conditions hold and all writes happen, or nothing does. A row's version is the index of the command that wrote it. */
export function storeTransaction(state: ClusterState, command: StoreTransaction, index: number, limits: ClusterLimits): Answer {
  const { frameworkId, conditions, writes } = command
  if (!isId(frameworkId)) return refused('invalid', 'a framework id is 1 to 255 bytes without a slash')
  if (!state.frameworks.has(frameworkId)) return refused('not-found', `no framework ${frameworkId} is registered`)
  const rows = state.storeOf(frameworkId)
  const broken = conditions.find((c) => (rows.get(c.key)?.version ?? 0) !== c.version)
  if (broken !== undefined) {
    const version = rows.get(broken.key)?.version ?? 0
    return refused('conflict', `${quoted(broken.key)} has version ${version}, not ${broken.version}: read it again`)
  }
  const wrong = wrongWrite(writes, limits)
  if (wrong !== undefined) return wrong
  const bytes = rows.bytes + growth(rows, writes)
  if (bytes > rows.bytes && bytes > limits.storeBytes) {
    return refused('exhausted', `the store of ${frameworkId} would hold ${bytes} bytes; its quota is ${limits.storeBytes}`)
  }
  for (const write of writes) {
    if (write.remove) rows.delete(write.key)
    else rows.set({ key: write.key, value: write.value, version: index })
  }
  if (rows.size > 0) state.stores.set(frameworkId, rows)
  else state.stores.delete(frameworkId)
  return accepted(index)
}

function wrongWrite(writes: readonly StoreWrite[], limits: ClusterLimits): Answer | undefined {
  const seen = new Set<string>()
  for (const { key, value, remove } of writes) {
    if (key === '' || (key.length * 3 > limits.storeKeyBytes && Buffer.byteLength(key) > limits.storeKeyBytes)) {
      return refused('invalid', `a key is 1 to ${limits.storeKeyBytes} bytes`)
    }
    if (writes.length > 1 && seen.has(key)) return refused('invalid', `${quoted(key)} is written twice in one transaction`)
    if (!remove && value.length > limits.storeValueBytes) {
      return refused('exhausted', `the value of ${quoted(key)} has ${value.length} bytes; the limit is ${limits.storeValueBytes}`)
    }
    if (writes.length > 1) seen.add(key)
  }
  return undefined
}

function growth(rows: OrderedRows, writes: readonly StoreWrite[]): number {
  let bytes = 0
  for (const { key, value, remove } of writes) bytes += remove ? -rows.bytesOf(key) : rows.growthOf(key, value)
  return bytes
}

const quoted = (key: string): string => JSON.stringify(key.length > 80 ? `${key.slice(0, 80)}…` : key)
