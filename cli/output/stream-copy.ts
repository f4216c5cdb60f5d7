import type { StreamEnding, StreamPart } from '../../sdk/stream.ts'
import { type Context, writeOut } from '../context.ts'
import { showLoss } from './loss.ts'

/** Resolves with the last frame. */
export async function copyParts(context: Context, parts: AsyncIterable<StreamPart>): Promise<StreamEnding> {
  const { stdout, stderr } = context.streams
  for await (const part of parts) {
    if (part.kind === 'stdout') await writeOut(stdout, part.data)
    else if (part.kind === 'stderr') await writeOut(stderr, part.data)
    else if (part.kind === 'gap') await writeOut(stderr, showLoss(part.gap))
    else if (part.kind === 'end') return part.ending
  }
  return {}
}
