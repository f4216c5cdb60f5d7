import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import protobuf from 'protobufjs'
import type { MessageName } from '../../proto/codec.ts'

const folder = join(import.meta.dirname, '../../proto')
const root = new protobuf.Root()
root.resolvePath = (_origin, target) => join(folder, target.split('/').at(-1) ?? '')
root.loadSync(readdirSync(folder).filter((file) => file.endsWith('.proto')))
root.resolveAll()
const nested = root.lookup('hearth')
if (!(nested instanceof protobuf.Namespace)) throw new Error('no package hearth')
/** Of every message in the .proto files, as protobufjs' own reflection has it. */
export const types = nested.nestedArray.filter((type) => type instanceof protobuf.Type)
export const nameOf = (type: protobuf.Type): MessageName => type.name as MessageName

const scalars: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  string: fc.string({ unit: 'grapheme', maxLength: 200 }),
  bool: fc.boolean(),
  bytes: fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
  int32: fc.integer(),
  uint32: fc.nat(0xffff_ffff),
  int64: fc.oneof(fc.maxSafeInteger(), fc.integer({ min: -2, max: 300 })).map((n) => n + 0)
}

function values(field: protobuf.Field): fc.Arbitrary<unknown> {
  const { resolvedType } = field.resolve()
  if (resolvedType instanceof protobuf.Type) return messages(resolvedType)
  if (resolvedType instanceof protobuf.Enum) return fc.constantFrom(...Object.keys(resolvedType.values), 77)
  const scalar = scalars[field.type]
  if (scalar === undefined) throw new Error(`no values for ${field.type}`)
  return scalar
}

const known = new Map<protobuf.Type, fc.Arbitrary<Record<string, unknown>>>()

/** Any value of a message, sensible or not. */
export function messages(type: protobuf.Type): fc.Arbitrary<Record<string, unknown>> {
  const made =
    known.get(type) ??
    fc.record(Object.fromEntries(type.fieldsArray.map((field) => [field.name, members(field)])), { requiredKeys: [] })
  known.set(type, made)
  return made
}

function members(field: protobuf.Field): fc.Arbitrary<unknown> {
  if (field instanceof protobuf.MapField) return fc.dictionary(fc.oneof(fc.string(), fc.constant('__proto__')), fc.string())
  if (field.repeated) return fc.array(values(field), { maxLength: 3 })
  return values(field)
}

/** By the message's name. */
export function anyMessage(name: MessageName): fc.Arbitrary<Record<string, unknown>> {
  const type = types.find((one) => one.name === name)
  if (type === undefined) throw new Error(`there is no message ${name}`)
  return messages(type)
}
