import { Command } from 'commander'
import { hearthVersion } from '../base/version.ts'
import { type CommonOptions, type Context, withStateDir } from './context.ts'
import { addAgentCommands } from './tree/agent.ts'
import { addClusterCommands } from './tree/cluster.ts'
import { addImageCommands } from './tree/image.ts'
import { addNodeCommands } from './tree/node.ts'
import { addOperatorCommands } from './tree/operator.ts'
import { addRaftCommands } from './tree/raft.ts'
import { type Shell, stateDirOption } from './tree/shell.ts'
import { addTaskCommands } from './tree/task.ts'
import { addTenantCommands } from './tree/tenant.ts'
import { addTopCommands } from './tree/top.ts'

/** The tree of commands. Each action loads its own file, so that a command pays only for itself. */
export function buildProgram(context: Context, setExitCode: (code: number) => void): Command {
  const program = new Command('hearth')
  /** State directories named before the command itself, the nearest last. */
  let given: readonly string[] = []
  program.hook('preAction', (_program, command) => {
    given = ancestors(command).flatMap((c) => c.opts<CommonOptions>().stateDir ?? [])
  })
  const shell: Shell = {
    async run(command) {
      const stateDir = given.at(-1)
      setExitCode(await command(stateDir === undefined ? context : withStateDir(context, stateDir)))
    }
  }
  program
    .description('Many Linux machines, used as one computer.')
    .version(hearthVersion, '-V, --version', 'print the version')
    .helpCommand('help [command]', 'show help for a command')
    .addOption(stateDirOption())
    .enablePositionalOptions()
    .showSuggestionAfterError()
  addTopCommands(program, shell)
  addTaskCommands(program, shell)
  addNodeCommands(program, shell)
  addImageCommands(program, shell)
  addClusterCommands(program, shell)
  addAgentCommands(program, shell)
  addOperatorCommands(program, shell)
  addTenantCommands(program, shell)
  addRaftCommands(program, shell)
  for (const command of allCommands(program)) settle(command, context)
  return program
}

export const allCommands = (command: Command): readonly Command[] => [command, ...command.commands.flatMap(allCommands)]

/** Outermost first. */
const ancestors = ({ parent }: Command): readonly Command[] => (parent === null ? [] : [...ancestors(parent), parent])

function settle(command: Command, context: Context): void {
  command.exitOverride().configureOutput({
    writeOut: (text) => context.streams.stdout.write(text),
    writeErr: (text) => context.streams.stderr.write(text),
    getOutHelpWidth: () => context.streams.stdout.columns ?? 80,
    getErrHelpWidth: () => context.streams.stderr.columns ?? 80,
    outputError: (text, write) =>
      write(
        `${text
          .replace(/^error: /, 'hearth: ')
          .trimEnd()
          .replaceAll('\n', ' ')} (see: ${pathOf(command)} --help)\n`
      )
  })
}

function pathOf(command: Command): string {
  return command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`
}
