import type { LogEntry } from '../../proto/gen/messages.ts'

type Placed = Pick<LogEntry, 'term' | 'index' | 'data'>

/**
 * An entry as protobuf has it (LogEntry), straight into the buffer that goes to the disk or to another master: entries are all that
 * the log and the peers have much of, and a writer of its own for each costs more than all else that is done with it.
 */
export function writeEntry(into: Buffer, at: number, { term, index, data }: Placed, type: number): number {
  let end = at
  if (term > 0) end = writeVarint(into, writeByte(into, end, 0x08), term)
  if (index > 0) end = writeVarint(into, writeByte(into, end, 0x10), index)
  if (data.length > 0) {
    end = writeVarint(into, writeByte(into, end, 0x1a), data.length)
    into.set(data, end)
    end += data.length
  }
  return type > 0 ? writeVarint(into, writeByte(into, end, 0x20), type) : end
}

/** How many bytes `writeEntry` takes. */
export const entryBytes = ({ term, index, data }: Placed, type: number): number =>
  numberBytes(term) + numberBytes(index) + numberBytes(data.length) + data.length + numberBytes(type)

/** Of a field whose tag is one byte: nothing where it is 0. */
export const numberBytes = (value: number): number => (value > 0 ? 1 + varintBytes(value) : 0)

/** A whole number of at most 53 bits. */
export function writeVarint(into: Buffer, at: number, value: number): number {
  let end = at
  let rest = value
  for (; rest >= 128; rest = Math.floor(rest / 128)) into[end++] = (rest & 127) | 128
  into[end++] = rest
  return end
}

export function varintBytes(value: number): number {
  let bytes = 1
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) bytes += 1
  return bytes
}

function writeByte(into: Buffer, at: number, byte: number): number {
  into[at] = byte
  return at + 1
}
