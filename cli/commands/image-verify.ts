import { Fault, isFault } from '../../base/fault.ts'
import type { ImageVerdict } from '../../sdk/image-messages.ts'
import { showBytes } from '../amounts.ts'
import { type Context, writeOut } from '../context.ts'
import { describeFailure } from '../failure.ts'
import { startProgress } from '../output/progress.ts'
import { type ImageOptions, nodeFor } from './image.ts'

interface VerifyOptions extends ImageOptions {
  readonly repair?: boolean
}

/** EX_IOERR, as for any other thing that is damaged. */
const damagedCode = 74

/** 0 where all is sound, or is again. */
export async function verifyImages(context: Context, names: readonly string[], options: VerifyOptions): Promise<number> {
  const client = context.client(options)
  const node = await nodeFor(client, options, context.signal)
  const wanted = names.length > 0 ? names : (await client.nodes.images(node, context.signal)).map((image) => image.name)
  const { stdout, stderr } = context.streams
  const verdicts: ImageVerdict[] = []
  let worst = 0
  for (const name of wanted) {
    try {
      const verdict = await verifyOne(context, node, name, options)
      verdicts.push(verdict)
      if (options.json !== true) await writeOut(stdout, showVerdict(verdict))
      if (verdict.damage.length > 0 && !verdict.repaired) worst = damagedCode
    } catch (e) {
      // One that cannot be looked at, or repaired, says nothing about the others.
      if (!isFault(e)) throw e
      const { text, code } = describeFailure(e)
      await writeOut(stderr, text)
      worst = code
    }
  }
  if (options.json === true) await writeOut(stdout, `${JSON.stringify(verdicts, null, 2)}\n`)
  return worst
}

async function verifyOne(context: Context, node: string, name: string, options: VerifyOptions): Promise<ImageVerdict> {
  const client = context.client(options)
  const progress = startProgress(context.streams.stderr)
  try {
    const query = { reference: name, repair: options.repair === true }
    for await (const part of await client.nodes.verifyImage(node, query, context.signal)) {
      if (part.kind === 'progress') progress.show(showProgress(name, part.value as { phase: string; archiveBytes: number }))
      if (part.kind === 'end') return part.ending.verdict as ImageVerdict
    }
    throw new Fault('unavailable', `the node said nothing about ${name}`)
  } finally {
    progress.clear()
  }
}

const showProgress = (name: string, { phase, archiveBytes }: { readonly phase: string; readonly archiveBytes: number }): string =>
  `${name}: ${phase}, ${showBytes(archiveBytes)}`

function showVerdict({ image, damage, repaired }: ImageVerdict): string {
  if (damage.length === 0) return `${image}: sound\n`
  const rows = damage.map(({ digest, kind, paths, count }) => {
    const which =
      paths.length === 0 ? '' : `: ${paths.join(', ')}${count > paths.length ? ` and ${count - paths.length} more` : ''}`
    return `  ${kind} ${digest.slice(7, 19)}${which}\n`
  })
  return `${image}: ${repaired ? 'was damaged, and is repaired' : 'damaged'}\n${rows.join('')}`
}
