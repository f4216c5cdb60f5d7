import { Fault } from '../../base/fault.ts'

export const blockBytes = 512

export type TarKind = 'file' | 'directory' | 'symlink' | 'hardlink' | 'fifo' | 'device'

/** One header block. Names are bytes, kept one to a character (latin1): a name need not be valid UTF-8. */
export interface TarHeader {
  readonly name: string
  readonly linkName: string
  readonly flag: string
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly size: number
  readonly mtimeSeconds: number
}

/** A name in an error message: readable, bounded, and without control characters. */
export const shownName = (name: string): string => JSON.stringify(Buffer.from(name.slice(0, 200), 'latin1').toString('utf8'))

/** Decodes a ustar, GNU or v7 header (POSIX.1-2017 pax, "ustar Interchange Format"); undefined for a block of zeros. */
export function decodeTarHeader(block: Buffer): TarHeader | undefined {
  if (isBlank(block)) return undefined
  if (checksum(block) !== number(block, 148, 8, 'checksum')) {
    throw new Fault('corrupt', 'the archive is damaged: the checksum of a tar header is wrong')
  }
  const posix = block.subarray(257, 263).toString('latin1') === 'ustar\0'
  const prefix = posix ? text(block, 345, 155) : ''
  const name = text(block, 0, 100)
  return {
    name: prefix === '' ? name : `${prefix}/${name}`,
    linkName: text(block, 157, 100),
    flag: String.fromCharCode(block[156] ?? 0),
    mode: number(block, 100, 8, 'mode') & 0o7777,
    uid: number(block, 108, 8, 'owner'),
    gid: number(block, 116, 8, 'group'),
    size: number(block, 124, 12, 'size'),
    mtimeSeconds: signedNumber(block, 136, 12)
  }
}

/** Whether the block could start a tar archive. */
export function looksLikeTar(block: Buffer): boolean {
  if (block.length < blockBytes) return false
  try {
    return isBlank(block) || decodeTarHeader(block) !== undefined
  } catch {
    // A broken header here means only that this is something else.
    return false
  }
}

/** Splits the records `LENGTH KEY=VALUE\n` of a pax extended header. */
export function decodePax(body: Buffer): Map<string, Buffer> {
  const records = new Map<string, Buffer>()
  let at = 0
  while (at < body.length && body[at] !== 0) {
    const space = body.indexOf(0x20, at)
    const digits = space < 0 || space - at > 10 ? '' : body.subarray(at, space).toString('latin1')
    const length = /^[0-9]+$/.test(digits) ? Number(digits) : 0
    const equals = body.indexOf(0x3d, space)
    const end = at + length
    if (length === 0 || end > body.length || equals < 0 || equals >= end || body[end - 1] !== 0x0a) {
      throw new Fault('corrupt', 'the archive is damaged: an extended tar header makes no sense')
    }
    records.set(body.subarray(space + 1, equals).toString('latin1'), body.subarray(equals + 1, end - 1))
    at = end
  }
  return records
}

function text(block: Buffer, offset: number, length: number): string {
  const field = block.subarray(offset, offset + length)
  const end = field.indexOf(0)
  return field.subarray(0, end < 0 ? length : end).toString('latin1')
}

function number(block: Buffer, offset: number, length: number, what: string): number {
  const value = signedNumber(block, offset, length)
  if (value < 0) throw new Fault('corrupt', `the archive is damaged: a tar header has a ${what} below zero`)
  return value
}

/** Octal digits, or base 256 where the first bit is set (GNU). */
function signedNumber(block: Buffer, offset: number, length: number): number {
  const field = block.subarray(offset, offset + length)
  const value = ((field[0] ?? 0) & 0x80) === 0 ? octal(field) : base256(field)
  if (!Number.isSafeInteger(value))
    throw new Fault('corrupt', 'the archive is damaged: a tar header has a number that makes no sense')
  return value
}

function octal(field: Buffer): number {
  const digits = field
    .toString('latin1')
    .replace(/^ +/, '')
    .replace(/[ \0][\s\S]*$/, '')
  if (digits === '') return 0
  return /^[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : Number.NaN
}

function base256(field: Buffer): number {
  const negative = ((field[0] ?? 0) & 0x40) !== 0
  let value = BigInt((field[0] ?? 0) & 0x3f)
  for (const byte of field.subarray(1)) value = value * 256n + BigInt(byte)
  const whole = negative ? value - (1n << BigInt(8 * field.length - 2)) : value
  return Number(whole)
}

/** The sum of all bytes, the checksum's own eight counted as spaces. */
function checksum(block: Buffer): number {
  let sum = 8 * 0x20
  for (let i = 0; i < blockBytes; i += 1) if (i < 148 || i >= 156) sum += block[i] ?? 0
  return sum
}

function isBlank(block: Buffer): boolean {
  for (const byte of block) if (byte !== 0) return false
  return true
}
