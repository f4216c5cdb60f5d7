import { join } from 'node:path'
import { encodeRecord } from '../../base/record-chain.ts'
import { encodeMessage } from '../../proto/codec.ts'
import { type LedgerFile, type LedgerFiles, writeFully } from './files.ts'
import type { LedgerState } from './view.ts'

/** Where the next record goes. */
export interface Position {
  readonly number: number
  readonly file: LedgerFile
  readonly offset: number
  /** CRC of the record before, or the file's number where there is none: files cannot be exchanged unnoticed. */
  readonly crc: number
  readonly sequence: number
}

export const ledgerName = (number: number): string => `ledger-${number}.log`
export const quarantineName = (number: number): string => `quarantine-${number}.bin`

/** The number in the name of a ledger file. */
export function ledgerNumber(name: string): number | undefined {
  const digits = /^ledger-([1-9]\d{0,14})\.log$/.exec(name)?.[1]
  return digits === undefined ? undefined : Number(digits)
}

const chunkBytes = 256 * 1024

/** Writes the state as ledger file `number`: beside, onto the disk, then under its name. A failure leaves nothing behind. */
export async function writeSnapshot(
  files: LedgerFiles,
  directory: string,
  state: LedgerState,
  number: number,
  sequence: number
): Promise<Position> {
  const path = join(directory, ledgerName(number))
  const draft = `${path}.draft`
  let file: LedgerFile | undefined
  try {
    file = await files.open(draft)
    const end = await writeState(file, state, number, sequence)
    await file.datasync()
    await files.rename(draft, path)
    await files.syncDirectory(directory)
    return { number, file, ...end }
  } catch (e) {
    await file?.close()
    await files.remove(draft)
    throw e
  }
}

async function writeState(
  file: LedgerFile,
  state: LedgerState,
  seed: number,
  sequence: number
): Promise<Pick<Position, 'offset' | 'crc' | 'sequence'>> {
  let end = { offset: 0, crc: seed, sequence }
  let chunk: Buffer[] = []
  let bytes = 0
  const flush = async (): Promise<void> => {
    await writeFully(file, Buffer.concat(chunk), end.offset)
    end = { ...end, offset: end.offset + bytes }
    chunk = []
    bytes = 0
  }
  for (const fact of state.facts()) {
    const record = encodeRecord(encodeMessage('LedgerRecord', { ...fact, sequence: end.sequence + 1 }), end.crc)
    end = { ...end, crc: record.crc, sequence: end.sequence + 1 }
    chunk.push(record.bytes)
    bytes += record.bytes.length
    if (bytes >= chunkBytes) await flush()
  }
  await flush()
  return end
}
