import protobuf from 'protobufjs/minimal.js'
import { Fault, isFault } from '../base/fault.ts'
import { codecs } from './gen/codecs.ts'
import type { Messages } from './gen/messages.ts'

export type MessageName = keyof Messages

/** What an encoder takes: any field may be left out and gets its proto3 default. */
export type Init<T> = T extends Uint8Array | string | number | boolean | null | undefined
  ? T
  : T extends readonly (infer U)[]
    ? readonly Init<U>[]
    : { readonly [K in keyof T]?: Init<T[K]> | undefined }

// Without Long protobufjs reads 64-bit fields as plain numbers; `wide` in fields.ts refuses those that are not exact.
// biome-ignore lint/suspicious/noExplicitAny: protobufjs types `Long` as a class that is always there
;(protobuf.util as any).Long = undefined
protobuf.configure()

/** Bytes of a message, what `decodeKeeping` kept included. Throws `Fault('invalid')` where a 64-bit field is not a safe integer. */
export function encodeMessage<K extends MessageName>(name: K, value: Init<Messages[K]>): Uint8Array {
  return codecs[name].write(protobuf.Writer.create(), value).finish()
}

/** As `encodeMessage`, and what `decodeKeeping` makes of these bytes, for less. The bytes fields are those of `value`. */
export function encodeKeeping<K extends MessageName>(
  name: K,
  value: Init<Messages[K]>
): { readonly bytes: Uint8Array; readonly plain: Messages[K] } {
  return { bytes: encodeMessage(name, value), plain: codecs[name].complete(value) }
}

/**
 * A plain object with every field filled: scalars with their default, absent messages with null. Throws `Fault('invalid')`
 * for bytes that are no such message.
 */
export function decodeMessage<K extends MessageName>(name: K, bytes: Uint8Array): Messages[K] {
  return decode(name, protobuf.Reader.create(bytes))
}

/** As `decodeMessage`; what a newer version wrote into the message comes out of `encodeMessage` again. */
export function decodeKeeping<K extends MessageName>(name: K, bytes: Uint8Array): Messages[K] {
  const reader = protobuf.Reader.create(bytes)
  reader.discardUnknown = false
  return decode(name, reader)
}

function decode<K extends MessageName>(name: K, reader: protobuf.Reader): Messages[K] {
  try {
    return codecs[name].read(reader, reader.len) as Messages[K]
  } catch (cause) {
    if (isFault(cause)) throw cause
    throw new Fault('invalid', `these bytes are no ${name} message`, { message: name }, cause)
  }
}

/** A message with every field filled, as if it had been sent and received. */
export function completeMessage<K extends MessageName>(name: K, value: Init<Messages[K]>): Messages[K] {
  return decodeMessage(name, encodeMessage(name, value))
}
