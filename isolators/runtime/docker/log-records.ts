/** Docker's log records, and what of them is in a log of ours already. Pure. */

export interface DockerRecord {
  /** As Docker writes it: 30 bytes of RFC 3339 with nanoseconds, in UTC, so that they sort as text. */
  readonly time: string
  /** A line of conmon's k8s-file format (agent/logs/entry.ts), with its newline. */
  readonly line: Buffer
}

const timeBytes = '2026-11-22T17:40:22.123456789Z'.length
const newline = 0x0a
/** Docker cuts longer lines (daemon/logger/copier.go, `defaultBufSize`): pieces but the last have this length and no newline. */
const pieceBytes = 16 * 1024
const headBytes = 8

/** Takes the answer of `/containers/NAME/logs` with timestamps, in pieces of any size. */
export class RecordParser {
  readonly #terminal: boolean
  #held: Buffer = Buffer.alloc(0)

  /** With a terminal the answer is without the heads that tell stdout from stderr and how long a record is. */
  constructor(terminal: boolean) {
    this.#terminal = terminal
  }

  push(bytes: Uint8Array): DockerRecord[] {
    let rest = this.#held.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.#held, bytes])
    const records: DockerRecord[] = []
    for (;;) {
      const found = this.#terminal ? rawRecord(rest) : framedRecord(rest)
      if (found === undefined) break
      records.push(found.record)
      rest = rest.subarray(found.bytes)
    }
    this.#held = Buffer.from(rest)
    return records
  }
}

interface Found {
  readonly record: DockerRecord
  readonly bytes: number
}

/** Engine API, "Stream format": kind, three zeros, length as big-endian. */
function framedRecord(bytes: Buffer): Found | undefined {
  if (bytes.length < headBytes) return undefined
  const end = headBytes + bytes.readUInt32BE(4)
  if (bytes.length < end) return undefined
  const text = bytes.subarray(headBytes, end)
  return { record: recordOf(bytes[0] === 2 ? 'stderr' : 'stdout', text), bytes: end }
}

function rawRecord(bytes: Buffer): Found | undefined {
  const from = timeBytes + 1
  const at = bytes.indexOf(newline, from)
  const end = at >= 0 && at < from + pieceBytes ? at + 1 : from + pieceBytes
  if (bytes.length < end) return undefined
  return { record: recordOf('stdout', bytes.subarray(0, end)), bytes: end }
}

function recordOf(stream: string, text: Buffer): DockerRecord {
  const time = text.toString('latin1', 0, timeBytes)
  const data = text.subarray(timeBytes + 1)
  const isWhole = data.at(-1) === newline
  const head = Buffer.from(`${time.slice(0, -1)}+00:00 ${stream} ${isWhole ? 'F' : 'P'} `, 'latin1')
  return { time, line: isWhole ? Buffer.concat([head, data]) : Buffer.concat([head, data, Buffer.of(newline)]) }
}

/** From where Docker is asked again, and how many of the records that it then gives are in the log already. */
export interface LogCursor {
  /** Empty: from the beginning. */
  readonly time: string
  readonly written: number
}

/**
 * The log holds a beginning of what Docker holds, in Docker's order. Records of two streams may stand there with times that go back
 * a little, so those since the time of the last one are counted, not found by their time. `tail`: whole lines, the end of the log.
 */
export function cursorOf(tail: Buffer): LogCursor {
  const times = tail
    .toString('latin1')
    .split('\n')
    .flatMap((line) => /^(\d{4}-\d\d-\d\dT[\d:]{8}\.\d{9})\+00:00 std/.exec(line)?.[1] ?? [])
  const last = times.at(-1)
  if (last === undefined) return { time: '', written: 0 }
  return { time: `${last}Z`, written: times.filter((time) => time >= last).length }
}

/** As the API takes a point of time: seconds, a dot and nanoseconds. */
export function sinceOf({ time }: LogCursor): string {
  if (time === '') return '0'
  return `${Math.floor(Date.parse(time) / 1000)}.${time.slice(20, 29)}`
}
