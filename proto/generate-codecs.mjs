// The text of proto/gen/codecs.ts: for each message what writes it, reads it and fills in its defaults, over protobufjs' writer and
// reader. What protobufjs makes of the descriptor at run time does the same and costs every start the descriptor and the making.
import protobuf from 'protobufjs'

const varint = 0
const delimited = 2
const wireTypes = {
  string: delimited,
  bytes: delimited,
  bool: varint,
  int32: varint,
  uint32: varint,
  int64: varint,
  uint64: varint
}
const defaults = { string: "''", bytes: 'noBytes', bool: 'false', int32: '0', uint32: '0', int64: '0', uint64: '0' }

const isEnum = (field) => field.resolvedType instanceof protobuf.Enum
const isMessage = (field) => field.resolvedType instanceof protobuf.Type
const isWide = (field) => field.type === 'int64' || field.type === 'uint64'
const isOptional = (field) => field.options?.proto3_optional === true
const lower = (name) => name[0].toLowerCase() + name.slice(1)
const tagOf = (field, wireType) => (field.id << 3) | wireType

/** Shapes that no message of ours has are refused here, so that none is ever read or written wrongly. */
function checked(field) {
  field.resolve()
  const name = `${field.parent.name}.${field.name}`
  const refuse = (what) => {
    throw new Error(`${name}: proto/generate-codecs.mjs does not know ${what}; teach it, and test/proto/codec.test.ts`)
  }
  if (!isMessage(field) && !isEnum(field) && wireTypes[field.type] === undefined) refuse(`the type ${field.type}`)
  if (field.map && !(field.keyType === 'string' && field.type === 'string')) refuse('maps but of strings')
  if (field.repeated && !isMessage(field) && field.type !== 'string') refuse(`repeated ${field.type}`)
  if (field.partOf && !isOptional(field)) refuse('oneof')
  if (isOptional(field) && (isMessage(field) || isEnum(field) || isWide(field))) refuse(`optional ${field.type}`)
  return field
}

function checkFlat(type, within = []) {
  if (within.includes(type)) throw new Error(`${type.name} lies within itself: its reader would have no limit to its depth`)
  for (const field of type.fieldsArray) if (isMessage(field)) checkFlat(field.resolvedType, [...within, type])
}

function writing(field) {
  const value = `m.${field.name}`
  const tag = `w.uint32(${tagOf(field, isEnum(field) ? varint : isMessage(field) || field.map ? delimited : wireTypes[field.type])})`
  const nested = (item) => `write${field.resolvedType.name}(${tag}.fork(), ${item}).ldelim()`
  if (field.map) {
    const entry = `${tag}.fork().uint32(10).string(key).uint32(18).string(String(value)).ldelim()`
    return `if (${value} != null) for (const [key, value] of Object.entries(${value})) ${entry}`
  }
  if (field.repeated) {
    return `if (${value} != null) for (const item of ${value}) ${isMessage(field) ? nested('item') : `${tag}.string(String(item))`}`
  }
  if (isMessage(field)) return `if (${value} != null) ${nested(value)}`
  if (isOptional(field)) return `if (${value} != null) ${tag}.${field.type}(${value})`
  if (isEnum(field)) {
    return `const ${field.name} = numberOf(${lower(field.resolvedType.name)}Numbers, ${value})
  if (${field.name} !== 0) ${tag}.int32(${field.name})`
  }
  if (isWide(field)) {
    return `if (${value} !== undefined && wide(${value}, '${field.parent.name}.${field.name}') !== 0) ${tag}.${field.type}(${value})`
  }
  if (field.type === 'string') return `if (${value} != null && ${value} !== '') ${tag}.string(String(${value}))`
  if (field.type === 'bytes') return `if (${value} != null && ${value}.length > 0) ${tag}.bytes(${value})`
  if (field.type === 'bool') return `if (${value}) ${tag}.bool(true)`
  return `const ${field.name} = ${whole(field)}
  if (${field.name} !== 0) ${tag}.${field.type}(${field.name})`
}

const whole = (field) => `(m.${field.name} ?? 0) ${field.type === 'int32' ? '| 0' : '>>> 0'}`

function reading(field) {
  const target = `d.${field.name}`
  const into = (wireType, statement) => `case ${tagOf(field, wireType)}:
        ${statement}
        continue`
  const text = field.type === 'string' ? 'r.stringVerify()' : `r.${field.type}()`
  if (field.map) return into(delimited, `readEntry(r, ${target} as Record<string, string>)`)
  if (field.repeated) {
    const item = isMessage(field) ? `readNested(r, read${field.resolvedType.name})` : text
    return into(delimited, `(${target} as ${field.resolvedType?.name ?? 'string'}[]).push(${item})`)
  }
  if (isMessage(field)) return into(delimited, `${target} = readNested(r, read${field.resolvedType.name}, ${target})`)
  if (isEnum(field)) return into(varint, `${target} = nameOf(${lower(field.resolvedType.name)}Names, r.int32())`)
  if (isWide(field)) return into(varint, `${target} = wide(${text}, '${field.parent.name}.${field.name}')`)
  return into(wireTypes[field.type], `${target} = ${text}`)
}

function defaultOf(field) {
  if (field.map) return '{}'
  if (field.repeated) return '[]'
  if (isMessage(field)) return 'null'
  return isEnum(field) ? `'${field.resolvedType.valuesById[0]}'` : defaults[field.type]
}

function completing(field) {
  const value = `m.${field.name}`
  if (field.map) return `{ ...${value} } as Record<string, string>`
  if (field.repeated) return `${value}?.map(${isMessage(field) ? `complete${field.resolvedType.name}` : 'String'}) ?? []`
  if (isMessage(field)) return `${value} == null ? null : complete${field.resolvedType.name}(${value})`
  if (isEnum(field)) {
    const name = lower(field.resolvedType.name)
    return `nameOf(${name}Names, numberOf(${name}Numbers, ${value}))`
  }
  if (field.type === 'bool') return `Boolean(${value})`
  if (field.type === 'int32' || field.type === 'uint32') return whole(field)
  return field.type === 'string' ? `String(${value} ?? '')` : `${value} ?? ${defaults[field.type]}`
}

/** Repeated fields and maps first, as protobufjs orders what it makes: JSON that was made of it stays the same. */
const inOrder = (fields) => {
  const rank = (field) => (field.repeated ? 0 : field.map ? 1 : 2)
  return fields.filter((field) => !isOptional(field)).sort((a, b) => rank(a) - rank(b) || a.id - b.id)
}

function message(type) {
  const fields = type.fieldsArray.map(checked).sort((a, b) => a.id - b.id)
  const { name } = type
  const filled = inOrder(fields)
  const fill = (of) => `{ ${filled.map((field) => `${field.name}: ${of(field)}`).join(', ')} }`
  const optional = fields.filter(isOptional)
  const kept = (f) => `if (m.${f.name} != null) d.${f.name} = ${f.type === 'bool' ? `Boolean(m.${f.name})` : whole(f)}`
  return `function write${name}(w: Writer, m: Init<${name}>): Writer {
  ${fields.map(writing).join('\n  ')}
  return writeUnknown(w, m)
}

function read${name}(r: Reader, end: number, d: Draft<${name}> = ${fill(defaultOf)}): Draft<${name}> {
  while (r.pos < end) {
    const start = r.pos
    const tag = r.tag()
    switch (tag) {
      ${fields.map(reading).join('\n      ')}
    }
    skip(r, tag, start, d)
  }
  return d
}

function complete${name}(m: Init<${name}>): ${name} {
  const d: Draft<${name}> = ${fill(completing)}
  ${[...optional.map(kept), 'return copyUnknown(m, d)'].join('\n  ')}
}`
}

function enumeration({ name, values }) {
  const words = Object.entries(values)
  return `const ${lower(name)}Names: Names<${name}> = { ${words.map(([word, value]) => `${value}: '${word}'`).join(', ')} }
const ${lower(name)}Numbers = numbersOf(${lower(name)}Names)`
}

const frame = `import type { Reader, Writer } from 'protobufjs/minimal.js'
import type { Init } from '../codec.ts'
import { copyUnknown, type Draft, noBytes, type Read, readEntry, readNested, skip, wide, writeUnknown } from '../fields.ts'`

const enumCode = `type Names<E extends string> = Readonly<Record<number, E>>

const numbersOf = <E extends string>(names: Names<E>): ReadonlyMap<unknown, number> =>
  new Map(Object.entries(names).map(([number, name]) => [name, Number(number)]))

/** A number is one that a newer version gave out; a word that nobody knows is the default. */
const numberOf = (numbers: ReadonlyMap<unknown, number>, value: unknown): number =>
  numbers.get(value) ?? (typeof value === 'number' ? value | 0 : 0)

const nameOf = <E extends string>(names: Names<E>, value: number): E => names[value] ?? (value as unknown as E)`

export function renderCodecs(types) {
  const enums = types.filter((t) => t instanceof protobuf.Enum)
  const messages = types.filter((t) => t instanceof protobuf.Type)
  for (const type of messages) checkFlat(type)
  const names = [...enums, ...messages].map((t) => t.name).sort()
  const rows = messages.map(({ name: n }) => `  ${n}: { write: write${n}, read: read${n}, complete: complete${n} }`)
  return `${[
    '// Generated by proto/generate.mjs from proto/*.proto. Do not edit.',
    frame,
    `import type { Messages, ${names.join(', ')} } from './messages.ts'`,
    enumCode,
    ...enums.map(enumeration),
    ...messages.map(message),
    `export interface Codec<T> {
  readonly write: (w: Writer, message: Init<T>) => Writer
  readonly read: Read<T>
  readonly complete: (message: Init<T>) => T
}`,
    `export const codecs: { readonly [K in keyof Messages]: Codec<Messages[K]> } = {\n${rows.join(',\n')}\n}`
  ].join('\n\n')}\n`
}
