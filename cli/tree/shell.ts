import { type Command, Option } from 'commander'
import type { Context } from '../context.ts'

/** What a command of the tree needs of the program: to run its action with the context and keep the exit code. */
export interface Shell {
  run(command: (context: Context) => Promise<number>): Promise<void>
}

export const stateDirOption = (): Option =>
  new Option('--state-dir <folder>', 'the state directory of the cluster (HEARTH_STATE_DIR, default /var/lib/hearth)')

export const jsonOption = (): Option => new Option('--json', 'print JSON')

/** Commands about one kind of thing. */
export const group = (program: Command, name: string, description: string): Command =>
  program.command(name).description(description).addOption(stateDirOption()).enablePositionalOptions()

/** A leaf that talks to a master. */
export const leaf = (parent: Command, usage: string, description: string): Command =>
  parent.command(usage).description(description).addOption(stateDirOption())

/** For options that may be given many times. */
export const collect = (value: string, before: readonly string[] | undefined): readonly string[] => [...(before ?? []), value]
