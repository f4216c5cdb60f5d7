import { isFault } from '../../base/fault.ts'
import { hearthVersion } from '../../base/version.ts'
import type { CommonOptions, Context } from '../context.ts'

export async function version(context: Context, options: CommonOptions): Promise<number> {
  const master = await context
    .client(options)
    .version(context.signal)
    .catch((e: unknown) => {
      if (isFault(e)) return null // no master here: our own version is still an answer
      throw e
    })
  const { stdout } = context.streams
  if (options.json === true) stdout.write(`${JSON.stringify({ hearth: hearthVersion, node: process.version, master })}\n`)
  else stdout.write(`hearth ${hearthVersion}\nmaster ${master === null ? 'not reachable' : master.version}\n`)
  return 0
}
