import { createWriteStream } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { resolve } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { errnoOf, Fault } from '../../base/fault.ts'
import type { CommonOptions, Context } from '../context.ts'
import { runMaster } from './raft-offline.ts'

/** The file is there whole and verified, or not at all. */
export async function backUp(context: Context, file: string, options: CommonOptions): Promise<number> {
  const draft = `${file}.draft`
  try {
    const bytes = await context.client(options).raft.backup(context.signal)
    await pipeline(bytes, createWriteStream(draft, { mode: 0o600, flush: true }))
    await rename(draft, file)
  } catch (e) {
    await rm(draft, { force: true })
    const seen = errnoOf(e)
    if (seen === undefined) throw e
    throw new Fault(seen === 'ENOSPC' ? 'exhausted' : 'invalid', `${file} cannot be written (${seen})`, { file }, e)
  }
  return runMaster(context, ['verify-backup', resolve(file)], options)
}
