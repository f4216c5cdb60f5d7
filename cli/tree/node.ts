import type { Command } from 'commander'
import { jsonOption, leaf, type Shell } from './shell.ts'

export function addNodeCommands(program: Command, shell: Shell): void {
  const node = program.command('node').description('the machines of the cluster').enablePositionalOptions()

  const list = leaf(node, 'list', 'list nodes').alias('ls').addOption(jsonOption())
  list.action((options) => shell.run(async (c) => (await import('../commands/node.ts')).listNodes(c, options)))

  const show = leaf(node, 'show', 'show one node: resources, attributes, what it can do').addOption(jsonOption())
  show.argument('<node>', 'id, start of an id, or host name')
  show.action((id: string, options) => shell.run(async (c) => (await import('../commands/node.ts')).showNode(c, id, options)))

  const stop = leaf(node, 'stop', 'stop the agent of this host; its tasks go on')
  stop.option('--workloads', 'end the tasks of this host first')
  stop.action((options) => shell.run(async (c) => (await import('../commands/node-stop.ts')).stopNode(c, options)))
}
