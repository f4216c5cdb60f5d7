import type { CommonOptions, Context } from '../context.ts'

interface RemoveOptions extends CommonOptions {
  readonly force?: boolean
}

export async function removeNode(context: Context, id: string, options: RemoveOptions): Promise<number> {
  await context.client(options).nodes.remove(id, options.force === true, context.signal)
  context.streams.stdout.write(`${id} is removed: its host comes back with a new token, under a new id\n`)
  return 0
}
