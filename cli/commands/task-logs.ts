import type { LostOutput, StreamPart } from '../../sdk/stream.ts'
import { parseCount, parseMoment } from '../amounts.ts'
import { type CommonOptions, type Context, writeOut } from '../context.ts'
import { usage } from '../failure.ts'
import { showLoss } from '../output/loss.ts'

interface LogCommandOptions extends CommonOptions {
  readonly follow?: boolean
  readonly tail?: string
  readonly attempt?: string
  readonly since?: string
  readonly until?: string
  readonly stream?: 'stdout' | 'stderr'
}

export async function printLogs(context: Context, id: string, options: LogCommandOptions): Promise<number> {
  const nowMs = Date.now()
  const sinceMs = options.since === undefined ? undefined : parseMoment('--since', options.since, nowMs)
  const untilMs = options.until === undefined ? undefined : parseMoment('--until', options.until, nowMs)
  if (sinceMs !== undefined && untilMs !== undefined && sinceMs > untilMs) throw usage('--until must not be before --since')
  const parts = await context.client(options).tasks.logs(
    id,
    {
      ...(options.follow === true ? { follow: true } : {}),
      ...(options.tail === undefined ? {} : { tail: parseCount('--tail', options.tail) }),
      ...(options.attempt === undefined ? {} : { attempt: parseCount('--attempt', options.attempt) }),
      ...(sinceMs === undefined ? {} : { sinceMs }),
      ...(untilMs === undefined ? {} : { untilMs }),
      ...(options.stream === undefined ? {} : { stream: options.stream })
    },
    context.signal
  )
  const print = options.json === true ? jsonPrinter(context) : plainPrinter(context)
  for await (const part of parts) await print(part)
  return 0
}

type Printer = (part: StreamPart) => Promise<void>

const plainPrinter =
  ({ streams }: Context): Printer =>
  async (part) => {
    if (part.kind === 'stdout' || part.kind === 'stderr') await writeOut(streams[part.kind], part.data)
    else if (part.kind === 'gap') await writeOut(streams.stderr, showLoss(part.gap))
  }

/** One object a line: `{stream, text}` for output as it came, `{gap}` where some was lost. */
function jsonPrinter({ streams }: Context): Printer {
  const decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() }
  const say = (row: { stream: string; text: string } | { gap: LostOutput }): Promise<void> =>
    writeOut(streams.stdout, `${JSON.stringify(row)}\n`)
  return async (part) => {
    if (part.kind === 'stdout' || part.kind === 'stderr') {
      const text = decoders[part.kind].decode(part.data, { stream: true })
      await say({ stream: part.kind, text })
    } else if (part.kind === 'gap') await say({ gap: part.gap })
  }
}
