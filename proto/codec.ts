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

/** Bytes of a message. Throws `Fault('invalid')` where a 64-bit field is not a safe integer. */
export function encodeMessage<K extends MessageName>(name: K, value: Init<Messages[K]>): Uint8Array {
  const type = typeOf(name)
  checkSafe(type, value as Record<string, unknown>)
  return type.encode(type.fromObject(value as Record<string, unknown>)).finish()
}

/**
 * A plain object with every field filled: scalars with their default, absent messages with null. Throws `Fault('invalid')`
 * for bytes that are no such message.
 */
export function decodeMessage<K extends MessageName>(name: K, bytes: Uint8Array): Messages[K] {
  const type = typeOf(name)
  let plain: Record<string, unknown>
  try {
    plain = type.toObject(type.decode(bytes), { defaults: true, enums: String, arrays: true, objects: true })
  } catch (cause) {
    throw new Fault('invalid', `these bytes are no ${name} message`, { message: name }, cause)
  }
  checkSafe(type, plain)
  return plain as unknown as Messages[K]
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
