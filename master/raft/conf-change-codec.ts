import type { ConfChange, ConfChangeSingle, ConfChangeType, Transition } from './conf-change.ts'
import { type EntryType, noData, type Proposal } from './entry.ts'

// The data of a membership entry is a protobuf message, so that other programs can read a log:
//   conf-change     { id = 1, type = 2, node_id = 3, context = 4 }
//   conf-change-v2  { transition = 1, repeated change = 2 { type = 1, node_id = 2 }, context = 3 }
const types: readonly ConfChangeType[] = ['add-voter', 'remove', 'update', 'add-learner']
const transitions: readonly Transition[] = ['auto', 'implicit', 'explicit']

function putVarint(bytes: number[], value: number): void {
  let rest = value
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128)
  bytes.push(rest)
}

function putNumber(bytes: number[], field: number, value: number): void {
  putVarint(bytes, field * 8)
  putVarint(bytes, value)
}

function putBytes(bytes: number[], field: number, value: ArrayLike<number>): void {
  putVarint(bytes, field * 8 + 2)
  putVarint(bytes, value.length)
  for (let i = 0; i < value.length; i++) bytes.push(value[i] ?? 0)
}

/** One change as an entry that nodes without joint consensus understand too. */
export function encodeSingleChange(change: ConfChangeSingle, context = noData): Proposal {
  const bytes: number[] = []
  putNumber(bytes, 1, 0)
  putNumber(bytes, 2, types.indexOf(change.type))
  putNumber(bytes, 3, change.nodeId)
  if (context.length > 0) putBytes(bytes, 4, context)
  return { type: 'conf-change', data: Uint8Array.from(bytes) }
}

export function encodeConfChange(change: ConfChange): Proposal {
  const bytes: number[] = []
  putNumber(bytes, 1, transitions.indexOf(change.transition))
  for (const single of change.changes) {
    const inner: number[] = []
    putNumber(inner, 1, types.indexOf(single.type))
    putNumber(inner, 2, single.nodeId)
    putBytes(bytes, 2, inner)
  }
  if (change.context.length > 0) putBytes(bytes, 3, change.context)
  return { type: 'conf-change-v2', data: Uint8Array.from(bytes) }
}

/** The bytes of a committed entry can be anything: what is not understood is undefined, never an exception. */
type Field = { readonly field: number; readonly value: number; readonly bytes: Uint8Array }

function readVarint(data: Uint8Array, from: number): { value: number; end: number } | undefined {
  let value = 0
  let scale = 1
  for (let at = from; at < data.length && at < from + 8; at++) {
    const byte = data[at] ?? 0
    value += (byte & 127) * scale
    if (byte < 128) return value <= Number.MAX_SAFE_INTEGER ? { value, end: at + 1 } : undefined
    scale *= 128
  }
  return undefined
}

function readFields(data: Uint8Array): readonly Field[] | undefined {
  const fields: Field[] = []
  for (let at = 0; at < data.length; ) {
    const key = readVarint(data, at)
    const value = key === undefined ? undefined : readVarint(data, key.end)
    if (key === undefined || value === undefined) return undefined
    const wire = key.value % 8
    const end = wire === 2 ? value.end + value.value : value.end
    if ((wire !== 0 && wire !== 2) || end > data.length) return undefined
    fields.push({ field: (key.value - wire) / 8, value: value.value, bytes: data.subarray(value.end, end) })
    at = end
  }
  return fields
}

function singleOf(fields: readonly Field[], typeField: number, nodeField: number): ConfChangeSingle | undefined {
  const numberAt = (field: number) => fields.findLast((f) => f.field === field)?.value ?? 0
  const type = types[numberAt(typeField)]
  return type === undefined ? undefined : { type, nodeId: numberAt(nodeField) }
}

/** Undefined when the bytes are no membership change that this version understands. Empty data leaves a joint configuration. */
export function decodeConfChange(type: EntryType, data: Uint8Array): ConfChange | undefined {
  const fields = readFields(data)
  if (fields === undefined || type === 'normal') return undefined
  const contextField = type === 'conf-change' ? 4 : 3
  const context = fields.findLast((f) => f.field === contextField)?.bytes ?? noData
  if (type === 'conf-change') {
    const single = singleOf(fields, 2, 3)
    return single === undefined ? undefined : { transition: 'auto', changes: [single], context }
  }
  const changes: ConfChangeSingle[] = []
  for (const field of fields.filter((f) => f.field === 2)) {
    const inner = readFields(field.bytes)
    const single = inner === undefined ? undefined : singleOf(inner, 1, 2)
    if (single === undefined) return undefined
    changes.push(single)
  }
  const transition = transitions[fields.findLast((f) => f.field === 1)?.value ?? 0]
  return transition === undefined ? undefined : { transition, changes, context }
}
