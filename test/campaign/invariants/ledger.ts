import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'

/**
 * A second reader of the ledger's framing, on purpose written anew: what reader and writer of the agent could agree on wrongly is
 * seen here. A record is `"HKR1" | u32 length | u32 crc | body`, little-endian; the crc runs over length and body and is seeded
 * with that of the record before, the first one with the number in the file's name.
 */
export interface LedgerReading {
  readonly records: number
  readonly problems: readonly string[]
}

const headBytes = 12
const sequenceField = 1
const quarantineField = 9
const toldMost = 5

export function readLedger(stateDir: string): LedgerReading {
  const directory = join(stateDir, 'agent/ledger')
  const names = existsSync(directory) ? readdirSync(directory) : []
  const files = names.flatMap((name) => {
    const number = /^ledger-(\d+)\.log$/.exec(name)?.[1]
    return number === undefined ? [] : [{ name, number: Number(number) }]
  })
  const newest = files.sort((a, b) => b.number - a.number)[0]
  const quarantined = names.filter((name) => name.startsWith('quarantine')).map((name) => `${name} was set aside as damaged`)
  if (newest === undefined) return { records: 0, problems: [...quarantined, 'there is no ledger'] }
  const reading = readLedgerFile(readFileSync(join(directory, newest.name)), newest.number)
  return { records: reading.records, problems: [...quarantined, ...reading.problems.slice(0, toldMost)] }
}

export function readLedgerFile(bytes: Buffer, number: number): LedgerReading {
  const problems: string[] = []
  let crc = number
  let records = 0
  let sequence: number | undefined
  let at = 0
  for (; at < bytes.length && !isBlank(bytes, at); records += 1) {
    const broken = brokenRecord(bytes, at, crc)
    if (broken !== undefined) return { records, problems: [...problems, `record ${records + 1} at byte ${at}: ${broken}`] }
    const end = at + headBytes + bytes.readUInt32LE(at + 4)
    const fields = fieldsOf(bytes.subarray(at + headBytes, end))
    const own = fields?.get(sequenceField)
    if (fields === undefined) problems.push(`record ${records + 1} is no message`)
    else if (own === undefined || (sequence !== undefined && own !== sequence + 1)) {
      problems.push(`record ${records + 1} has the sequence ${own}, after ${sequence}`)
    }
    if (fields?.has(quarantineField)) problems.push(`record ${records + 1} tells of a damaged stretch`)
    sequence = own ?? sequence
    crc = bytes.readUInt32LE(at + 8)
    at = end
  }
  if (records === 0) problems.push('the ledger is empty')
  return { records, problems }
}

function brokenRecord(bytes: Buffer, at: number, crc: number): string | undefined {
  if (at + headBytes > bytes.length) return 'half a head'
  if (bytes.toString('latin1', at, at + 4) !== 'HKR1') return 'no record starts here'
  const end = at + headBytes + bytes.readUInt32LE(at + 4)
  if (end > bytes.length) return 'it runs past the end'
  const own = crc32(bytes.subarray(at + headBytes, end), crc32(bytes.subarray(at + 4, at + 8), crc))
  return own === bytes.readUInt32LE(at + 8) ? undefined : 'the checksum does not fit the chain'
}

const isBlank = (bytes: Buffer, at: number): boolean => bytes.subarray(at).every((byte) => byte === 0)

/** Field numbers of one protobuf message, with the last varint of each (0 for other types); undefined where it is none. */
function fieldsOf(body: Buffer): ReadonlyMap<number, number> | undefined {
  const fields = new Map<number, number>()
  let at = 0
  const varint = (): number => {
    let value = 0
    for (let shift = 1; ; shift *= 128) {
      const byte = body[at]
      at += 1
      if (byte === undefined) return Number.NaN
      value += (byte & 0x7f) * shift
      if (byte < 0x80) return value
    }
  }
  while (at < body.length) {
    const tag = varint()
    const type = tag % 8
    let value = 0
    if (type === 0) value = varint()
    else if (type === 1) at += 8
    else if (type === 2) {
      const length = varint() // moves `at` itself
      at += length
    } else if (type === 5) at += 4
    else return undefined
    if (Number.isNaN(tag) || Number.isNaN(value) || !(at <= body.length)) return undefined
    fields.set(Math.floor(tag / 8), value)
  }
  return fields
}
