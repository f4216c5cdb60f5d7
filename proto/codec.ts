import protobuf from 'protobufjs/light.js'
import { Fault } from '../base/fault.ts'
import { descriptor } from './gen/descriptor.ts'
import type { Messages } from './gen/messages.ts'

export type MessageName = keyof Messages

/** What an encoder takes: any field may be left out and gets its proto3 default. */
export type Init<T> = T extends Uint8Array | string | number | boolean | null | undefined
  ? T
  : T extends readonly (infer U)[]
    ? readonly Init<U>[]
    : { readonly [K in keyof T]?: Init<T[K]> | undefined }

// Without Long protobufjs decodes 64-bit fields to plain numbers; `checkSafe` below refuses those that are not exact.
// biome-ignore lint/suspicious/noExplicitAny: protobufjs types `Long` as a class that is always there
;(protobuf.util as any).Long = undefined
protobuf.configure()

const root = protobuf.Root.fromJSON(descriptor as protobuf.INamespace)
const types = new Map<string, protobuf.Type>()

function typeOf(name: string): protobuf.Type {
  let type = types.get(name)
  if (type === undefined) {
    type = root.lookupType(`hearth.${name}`)
    types.set(name, type)
  }
  return type
}

/** Fields that this version does not know, as they stood in the bytes; on messages of `decodeKeeping` alone. */
const unknownFields = Symbol('unknown fields')

export const hasUnknownFields = (message: object): boolean => unknownFields in message

/** Bytes of a message, what `decodeKeeping` kept included. Throws `Fault('invalid')` where a 64-bit field is not a safe integer. */
export function encodeMessage<K extends MessageName>(name: K, value: Init<Messages[K]>): Uint8Array {
  const type = typeOf(name)
  return type.encode(messageOf(type, value)).finish()
}

/** As `encodeMessage`, and what `decodeKeeping` makes of these bytes, for less. The bytes fields are those of `value`. */
export function encodeKeeping<K extends MessageName>(
  name: K,
  value: Init<Messages[K]>
): { readonly bytes: Uint8Array; readonly plain: Messages[K] } {
  const type = typeOf(name)
  const message = messageOf(type, value)
  const plain = type.toObject(message, asPlain)
  carry(type, value, plain, unknownFields, unknownFields)
  return { bytes: type.encode(message).finish(), plain: plain as unknown as Messages[K] }
}

function messageOf(type: protobuf.Type, value: object): protobuf.Message {
  checkSafe(type, value as Record<string, unknown>)
  const message = type.fromObject(value as Record<string, unknown>)
  carry(type, value, message, unknownFields, '$unknowns')
  return message
}

const asPlain = { defaults: true, enums: String, arrays: true, objects: true } as const

type Field = string | symbol

/**
 * Copies what one side kept of unknown fields to the other, for the message and every message within it. On the way of every
 * record of the ledger, and there is nearly never anything: no closures, no arrays of pairs.
 */
function carry(type: protobuf.Type, from: object, to: object, kept: Field, as: Field): void {
  const unknown = (from as Record<Field, unknown>)[kept]
  if (unknown !== undefined) (to as Record<Field, unknown>)[as] = copied(unknown as readonly Uint8Array[])
  for (const [name, nested] of planOf(type).nested) {
    const [a, b] = [(from as Record<string, unknown>)[name], (to as Record<string, unknown>)[name]]
    if (!isMessage(a) || !isMessage(b)) continue
    if (!Array.isArray(a)) carry(nested, a, b, kept, as)
    else if (Array.isArray(b)) carryEach(nested, a, b, kept, as)
  }
}

function carryEach(type: protobuf.Type, from: readonly unknown[], to: readonly unknown[], kept: Field, as: Field): void {
  for (const [i, a] of from.entries()) {
    const b = to[i]
    if (isMessage(a) && isMessage(b)) carry(type, a, b, kept, as)
  }
}

/** Not a view of the buffer they were read from, which is as large as a whole ledger. */
const copied = (kept: readonly Uint8Array[]): readonly Uint8Array[] => kept.map((bytes) => Uint8Array.from(bytes))

const isMessage = (value: unknown): value is object => typeof value === 'object' && value !== null

/**
 * A plain object with every field filled: scalars with their default, absent messages with null. Throws `Fault('invalid')`
 * for bytes that are no such message.
 */
export function decodeMessage<K extends MessageName>(name: K, bytes: Uint8Array): Messages[K] {
  return decode(name, protobuf.Reader.create(bytes)).plain
}

/** As `decodeMessage`; what a newer version wrote into the message comes out of `encodeMessage` again. */
export function decodeKeeping<K extends MessageName>(name: K, bytes: Uint8Array): Messages[K] {
  const reader = protobuf.Reader.create(bytes)
  reader.discardUnknown = false
  const { plain, message } = decode(name, reader)
  carry(typeOf(name), message, plain as object, '$unknowns', unknownFields)
  return plain
}

function decode<K extends MessageName>(
  name: K,
  reader: protobuf.Reader
): { readonly plain: Messages[K]; readonly message: protobuf.Message } {
  const type = typeOf(name)
  let plain: Record<string, unknown>
  let message: protobuf.Message
  try {
    message = type.decode(reader)
    plain = type.toObject(message, asPlain)
  } catch (cause) {
    throw new Fault('invalid', `these bytes are no ${name} message`, { message: name }, cause)
  }
  checkSafe(type, plain)
  return { plain: plain as unknown as Messages[K], message }
}

/** A message with every field filled, as if it had been sent and received. */
export function completeMessage<K extends MessageName>(name: K, value: Init<Messages[K]>): Messages[K] {
  return decodeMessage(name, encodeMessage(name, value))
}

interface Plan {
  readonly wide: readonly string[]
  readonly nested: readonly (readonly [string, protobuf.Type])[]
}

const plans = new Map<protobuf.Type, Plan>()

function planOf(type: protobuf.Type): Plan {
  let plan = plans.get(type)
  if (plan === undefined) {
    const fields = type.fieldsArray.map((f) => f.resolve())
    plan = {
      wide: fields.filter((f) => f.type === 'int64' || f.type === 'uint64').map((f) => f.name),
      nested: fields.flatMap((f) => (f.resolvedType instanceof protobuf.Type ? [[f.name, f.resolvedType] as const] : []))
    }
    plans.set(type, plan)
  }
  return plan
}

/** The one place where 64-bit values become safe integers. */
function checkSafe(type: protobuf.Type, value: Readonly<Record<string, unknown>>): void {
  const plan = planOf(type)
  for (const name of plan.wide) {
    const field = value[name]
    if (field !== undefined && !Number.isSafeInteger(field)) {
      throw new Fault('invalid', `${type.name}.${name} must be a whole number below 2^53, not ${String(field)}`)
    }
  }
  for (const [name, nested] of plan.nested) {
    const field = value[name]
    if (Array.isArray(field)) for (const item of field) checkSafe(nested, item as Record<string, unknown>)
    else if (field !== undefined && field !== null) checkSafe(nested, field as Record<string, unknown>)
  }
}
