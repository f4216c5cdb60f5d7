import type { Reader, Writer } from 'protobufjs/minimal.js'
import { Fault } from '../base/fault.ts'

/** What the generated codecs (gen/codecs.ts) are made of, beside protobufjs' reader and writer. */

/** A message while it is being read. */
export type Draft<T> = { -readonly [K in keyof T]: T[K] }

export type Read<T> = (r: Reader, end: number, into?: Draft<T>) => Draft<T>

/** Fields that this version does not know, as they stood in the bytes; on messages of `decodeKeeping` alone. */
const unknownFields = Symbol('unknown fields')

interface Keeping {
  [unknownFields]?: readonly Uint8Array[]
}

export const hasUnknownFields = (message: object): boolean => unknownFields in message

/** The one place where 64-bit values become safe integers. */
export function wide(value: unknown, field: string): number {
  if (typeof value === 'number' && Number.isSafeInteger(value)) return value
  throw new Fault('invalid', `${field} must be a whole number below 2^53, not ${String(value)}`)
}

export const noBytes: Uint8Array = Buffer.alloc(0)

/** A message within a message; one that comes twice is merged (protobuf encoding, "Last one wins"). */
export function readNested<T>(r: Reader, read: Read<T>, into?: Draft<T> | null): Draft<T> {
  const outer = r.len
  const end = enter(r)
  const message = into ? read(r, end, into) : read(r, end)
  leave(r, end, outer)
  return message
}

/** One entry of a map of strings: a message with the key as field 1 and the value as field 2. */
export function readEntry(r: Reader, map: Record<string, string>): void {
  const outer = r.len
  const end = enter(r)
  let key = ''
  let value = ''
  while (r.pos < end) {
    const tag = r.tag()
    if (tag === 10) key = r.stringVerify()
    else if (tag === 18) value = r.stringVerify()
    else r.skipType(tag & 7, 0, tag >>> 3)
  }
  leave(r, end, outer)
  // `map[key] = value` would set the prototype where the key is `__proto__`.
  Object.defineProperty(map, key, { value, enumerable: true, configurable: true, writable: true })
}

function enter(r: Reader): number {
  const length = r.size()
  const end = r.pos + length
  if (end > r.len) throw new RangeError('a message runs past the end')
  r.len = end
  return end
}

function leave(r: Reader, end: number, outer: number): void {
  if (r.pos !== end) throw new RangeError('a field runs past the end of its message')
  r.len = outer
}

/** Passes over a field that the message does not have, and keeps it where the reader is asked to. */
export function skip(r: Reader, tag: number, start: number, message: object): void {
  r.skipType(tag & 7, 0, tag >>> 3)
  if (r.discardUnknown) return
  const kept = (message as Keeping)[unknownFields] ?? []
  // Not a view of the buffer they were read from, which is as large as a whole ledger.
  ;(message as Keeping)[unknownFields] = [...kept, Uint8Array.from(r.raw(start, r.pos))]
}

/** Writes what was kept of unknown fields behind the known ones. */
export function writeUnknown(w: Writer, message: object): Writer {
  const kept = (message as Keeping)[unknownFields]
  if (kept !== undefined) for (const bytes of kept) w.raw(bytes)
  return w
}

export function copyUnknown<T extends object>(from: object, to: T): T {
  const kept = (from as Keeping)[unknownFields]
  if (kept !== undefined) (to as Keeping)[unknownFields] = kept.map((bytes) => Uint8Array.from(bytes))
  return to
}
