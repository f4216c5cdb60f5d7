import { Fault } from '../../base/fault.ts'
import type { Image } from '../../sdk/image-messages.ts'
import { showBytes } from '../amounts.ts'
import type { Context } from '../context.ts'
import { usage } from '../failure.ts'
import { startProgress } from '../output/progress.ts'
import { type ImageOptions, nodeFor } from './image.ts'

interface PullOptions extends ImageOptions {
  readonly username?: string
  readonly passwordStdin?: boolean
}

export async function pullImage(context: Context, name: string, options: PullOptions): Promise<number> {
  const credentials = await readCredentials(context, options)
  const client = context.client(options)
  const node = await nodeFor(client, options, context.signal)
  const { stdout, stderr } = context.streams
  const progress = startProgress(stderr)
  const rate = new Rate()
  try {
    for await (const part of await client.nodes.pullImage(node, { reference: name }, credentials, context.signal)) {
      if (part.kind === 'progress') progress.show(showPull(part.value as PullProgress, rate))
      if (part.kind !== 'end') continue
      progress.clear()
      const image = part.ending.image as Image | undefined
      stdout.write(options.json === true ? `${JSON.stringify(image ?? null)}\n` : `${image?.name ?? name}\n`)
    }
    return 0
  } finally {
    progress.clear()
  }
}

interface PullProgress {
  readonly phase: string
  readonly archiveBytes: number
  readonly totalBytes: number
  readonly layer: number
  readonly layers: number
}

function showPull({ phase, archiveBytes, totalBytes, layer, layers }: PullProgress, rate: Rate): string {
  if (phase === 'asking') return 'asking the registry'
  const much = totalBytes === 0 ? '' : `, ${Math.min(100, Math.floor((archiveBytes * 100) / totalBytes))} %`
  return `${layer} of ${layers} layers, ${showBytes(archiveBytes)} of ${showBytes(totalBytes)}${much}${rate.show(archiveBytes)}`
}

const rateEveryMs = 500

/** Bytes a second since the look before. */
class Rate {
  #atMs = performance.now()
  #bytes = 0
  #text = ''

  show(bytes: number): string {
    const nowMs = performance.now()
    if (nowMs - this.#atMs >= rateEveryMs) {
      this.#text = `, ${showBytes(Math.round(((bytes - this.#bytes) * 1_000) / (nowMs - this.#atMs)))}/s`
      this.#atMs = nowMs
      this.#bytes = bytes
    }
    return this.#text
  }
}

const maxPasswordBytes = 8 * 1024

/** A password on the command line would be everybody's: it comes by standard input. */
async function readCredentials(context: Context, { username, passwordStdin }: PullOptions) {
  if (username === undefined && passwordStdin !== true) return undefined
  if (username === undefined || passwordStdin !== true) throw usage('--username and --password-stdin need each other')
  const parts: Buffer[] = []
  for await (const chunk of context.streams.stdin as unknown as AsyncIterable<Buffer>) {
    parts.push(Buffer.from(chunk))
    if (Buffer.concat(parts).length > maxPasswordBytes)
      throw new Fault('invalid', `a password may have ${maxPasswordBytes} bytes`)
  }
  const password = Buffer.concat(parts)
    .toString('utf8')
    .replace(/\r?\n$/, '')
  if (password === '') throw new Fault('invalid', 'standard input holds no password')
  return { username, password }
}
