import type { Command } from 'commander'
import type { Context } from '../context.ts'
import { usage } from '../failure.ts'

export async function completion(context: Context, program: Command, shell: string): Promise<number> {
  const { scriptFor } = await import('../completion-script.ts')
  const script = scriptFor(shell, program)
  if (script === undefined) throw usage(`no completion for ${JSON.stringify(shell)}: use bash, zsh or fish`)
  context.streams.stdout.write(script)
  return 0
}
