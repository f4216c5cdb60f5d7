import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { parseLogLine } from './entry.ts'

const tailBytes = 16 * 1024
const lineBytes = 300

/** The last lines that the newest file of a log holds, of both streams, as text. None where there is no log. */
export function lastLinesOf(path: string, most: number): readonly string[] {
  let text: Buffer
  try {
    text = readTail(path)
  } catch {
    return [] // it was never launched
  }
  const lines: string[] = []
  for (let at = 0; at < text.length; ) {
    const end = text.indexOf(0x0a, at)
    if (end < 0) break
    const entry = parseLogLine(text.subarray(at, end + 1))
    if (entry !== undefined) lines.push(Buffer.from(entry.data).toString('utf8').trimEnd().slice(0, lineBytes))
    at = end + 1
  }
  return lines.slice(-most)
}

function readTail(path: string): Buffer {
  const file = openSync(path, 'r')
  try {
    const { size } = fstatSync(file)
    const bytes = Buffer.alloc(Math.min(size, tailBytes))
    return bytes.subarray(0, readSync(file, bytes, 0, bytes.length, size - bytes.length))
  } finally {
    closeSync(file)
  }
}
