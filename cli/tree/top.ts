import type { Command } from 'commander'
import { jsonOption, leaf, type Shell } from './shell.ts'

export function addTopCommands(program: Command, shell: Shell): void {
  const up = leaf(program, 'up', 'start a master and an agent on this host and wait until a probe task has run')
  up.option('--http <address>', 'where the API listens for programs of this host, or off (HEARTH_HTTP, default 127.0.0.1:7340)')
  up.option('--listen <address>', 'where other hosts come in, over TLS, such as 0.0.0.0, or off (HEARTH_LISTEN, default off)')
  up.addHelpText(
    'after',
    '\nSettings of the node come from the environment, such as HEARTH_ALLOW_MOUNT=/srv/data,/srv/more:\n' +
      'the folders of this host that tasks may mount with -v. They take effect when the daemons start.'
  )
  up.action((options) => shell.run(async (c) => (await import('../commands/up.ts')).up(c, options)))

  const down = leaf(program, 'down', 'stop all tasks, the agent and the master of this host')
  down.option('--purge', 'remove the state directory too: images, logs, the master’s log')
  down.action((options) => shell.run(async (c) => (await import('../commands/down.ts')).down(c, options)))

  const status = leaf(program, 'status', 'tell what runs on this host').addOption(jsonOption())
  status.action((options) => shell.run(async (c) => (await import('../commands/status.ts')).status(c, options)))

  const version = leaf(program, 'version', 'print the versions of this program and of the master').addOption(jsonOption())
  version.action((options) => shell.run(async (c) => (await import('../commands/version.ts')).version(c, options)))

  const completion = program.command('completion').description('print a script that completes commands in your shell')
  completion.argument('<shell>', 'bash, zsh or fish')
  completion.addHelpText('after', '\nFor this session: source <(hearth completion bash)')
  completion.action((name: string) =>
    shell.run(async (c) => (await import('../commands/completion.ts')).completion(c, program, name))
  )
}
